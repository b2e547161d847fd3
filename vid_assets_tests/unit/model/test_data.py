"""Reading a pinned training set from Lance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch

from model.data.blobs import DataError
from model.data.kinds import KINDS, Kind
from model.data.training_set import TrainingSet
from model.denoisers import models
from model.denoisers.base import Dims
from model.denoisers.wan import Wan
from model.errors import ModelError
from model.training.passes import part_of
from vid_assets_tests.unit.model.tables import (
    LATENTS,
    MEMBERS,
    embedding_row,
    member,
    mixed_training_set,
    opened,
    sample_row,
    write_table,
    write_training_set,
)

VIDEO = "9x16x16@8"
SHAPE = (32, 3, 2, 2)


def small(folder: Path, rows: list[dict[str, Any]], **spec: Any) -> TrainingSet:
    members = [member(index, VIDEO) for index in range(3)]
    return opened({**write_training_set(folder, rows, members), **spec}, channels=16)


def test_latents_and_texts_come_back_as_they_were_stored(tmp_path: Path) -> None:
    data = opened(mixed_training_set(tmp_path, 16, 16), channels=16)
    assert len(data.split("train")) == 12
    assert [sample.sample_id for sample in data.split("heldout")] == ["s004"]
    batch = data.read(["s002", "s000", "s002"])
    assert batch.latents.shape == (3, 32, 5, 2, 2)
    for sample, latent in zip(batch.samples, batch.latents):
        stored = sample_row(int(sample.sample_id[1:]), (32, 5, 2, 2))["latent"]
        assert latent.numpy().tobytes() == stored
    assert [None if text is None else text.shape for text in batch.states["text"]] == [(9, 64), None, (9, 64)]
    assert batch.states["text"][0].numpy().tobytes() == embedding_row("k2", 9)["embedding"]  # type: ignore[union-attr]
    assert data.dims["text"] == 64


def test_states_of_every_kind_of_encoder_come_with_their_samples(tmp_path: Path) -> None:
    rows = [sample_row(index, SHAPE) for index in range(2)]
    kinds = {"embedding_key": "text", "pooled_key": "pooled", "image_key": "image"}
    states = [
        embedding_row(name, tokens, dim) | {"kind": kind}
        for name, kind, tokens, dim in (("t", "text", 7, 64), ("p", "pooled", 1, 32), ("i", "image", 1, 16))
    ]
    half = {"dtype": "bfloat16", "embedding": torch.arange(7 * 64).bfloat16().view(torch.uint8).numpy().tobytes()}
    states[0] |= half
    spec = write_training_set(tmp_path, rows, [member(index, VIDEO) for index in range(2)], states)
    schema = MEMBERS
    for name in kinds:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    given = dict.fromkeys(kinds) | {"embedding_key": "t", "pooled_key": "p", "image_key": "i"}
    members = [member(0, VIDEO) | given, member(1, VIDEO) | dict.fromkeys(kinds)]
    uri = tmp_path / "conditioned.lance"
    spec |= {"members_uri": str(uri), "members_version": write_table(uri, members, schema)}
    data = opened(spec, 16)
    batch = data.read(["s001", "s000", "s000"])
    shapes = ((7, 64), (1, 32), (1, 16))
    for found, shape in zip((batch.states["text"], batch.states["pooled"], batch.states["image"]), shapes):
        none, one, again = found
        assert none is None
        assert one is not None and again is not None
        assert (one.shape, one.dtype) == (shape, torch.float32)
        assert torch.equal(one, again)
    assert torch.equal(batch.states["text"][1], torch.arange(7 * 64).bfloat16().float().view(7, 64))  # type: ignore[arg-type]
    assert batch.states["pooled"][1].numpy().tobytes() == states[1]["embedding"]  # type: ignore[union-attr]
    assert [data.dims[kind] for kind in kinds.values()] == [64, 32, 16]
    write_table(tmp_path / "wrong.lance", [members[0] | {"image_key": "p"}], schema)
    with pytest.raises(DataError, match=r"holds no (image|pooled) states of p"):
        opened({**spec, "members_uri": str(tmp_path / "wrong.lance"), "members_version": 1}, 16)


def test_a_further_kind_of_conditioning_is_a_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "pose", Kind("pose", "pose_key", "pose states"))
    poses = [embedding_row("p", 4, 24) | {"kind": "pose"}]
    spec = write_training_set(tmp_path, [sample_row(index, SHAPE) for index in range(2)], [member(0, VIDEO)], poses)
    uri, schema = tmp_path / "posed.lance", MEMBERS.append(pa.field("pose_key", pa.string()))
    members = [member(0, VIDEO) | {"pose_key": "p"}, member(1, VIDEO) | {"pose_key": None}]
    data = opened(spec | {"members_uri": str(uri), "members_version": write_table(uri, members, schema)})
    assert data.dims == {"text": None, "pooled": None, "image": None, "pose": 24}
    batch = part_of(data.read(["s001", "s000", "s000"]), 0, 2)
    assert {kind: len(states) for kind, states in batch.states.items()} == dict.fromkeys(KINDS, 2)
    given = models.conditions(batch, "wan-tiny", "cpu").of("pose")
    assert given[0] is None and given[1] is not None
    assert given[1].numpy().tobytes() == poses[0]["embedding"]
    with pytest.raises(ModelError, match="it reads pose states of 32, these have 24"):
        Posed().check(models.build("wan-tiny", 0), 16, data.dims, False)


class Posed(Wan):
    """A family that reads poses."""

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], {"pose": 32})


def test_latents_that_the_store_writes_are_read_from_the_map(tmp_path: Path) -> None:
    from vid_assets.store.tables import Store

    store = Store(str(tmp_path / "home"))
    rows = [sample_row(index, SHAPE, dtype="<f2") for index in range(3)]
    spec = write_training_set(tmp_path, rows, [member(index, VIDEO) for index in range(3)])
    for row in rows:  # a commit each, as an encoder flushes them
        store.insert_absent("latents", [row])
    store.table("latents").optimize()
    spec |= {"latents_uri": store.table_uri("latents"), "latents_version": store.version("latents")}
    data = opened(spec, 16)
    assert data.latents.fallback is None
    batch = data.read(["s002", "s000"])
    assert [latent.numpy().tobytes() for latent in batch.latents] == [rows[2]["latent"], rows[0]["latent"]]


@pytest.mark.parametrize("width", [2, 64, 512])  # stored inline, packed, or in a file of its own, by the default layout
def test_blobs_of_every_size_and_kind_are_read(tmp_path: Path, width: int) -> None:
    schema = LATENTS.set(LATENTS.get_field_index("latent"), lance.blob_field("latent"))
    rows = [sample_row(index, (32, 3, 2, width), dtype="<f2") for index in range(3)]
    spec = write_training_set(tmp_path, rows[:1], [member(index, VIDEO) for index in range(3)])
    uri = tmp_path / "default.lance"
    spec |= {"latents_uri": str(uri), "latents_version": write_table(uri, rows, schema, "latent")}
    batch = opened(spec, 16).read(["s002", "s001"])
    assert batch.latents.dtype == torch.float16
    assert batch.latents[0].numpy().tobytes() == rows[2]["latent"]


def test_the_pinned_version_is_read_whatever_happened_since(tmp_path: Path) -> None:
    rows = [sample_row(index, SHAPE) for index in range(6)]
    spec = write_training_set(tmp_path, rows, [member(index, VIDEO) for index in (1, 3, 5)])
    dataset = lance.dataset(spec["latents_uri"])
    dataset.delete("sample_id in ('s000', 's002')")  # rows move up, addresses must not be mixed up
    deleted = dataset.version
    write_table(Path(spec["latents_uri"]), [sample_row(9, SHAPE)], LATENTS, "latent")
    lance.dataset(spec["latents_uri"]).optimize.compact_files()
    for version in (spec["latents_version"], deleted, lance.dataset(spec["latents_uri"]).version):
        batch = opened({**spec, "latents_version": version}, 16).read(["s005", "s001", "s003"])
        assert [latent.numpy().tobytes() for latent in batch.latents] == [rows[i]["latent"] for i in (5, 1, 3)]


def test_a_failed_row_beside_a_good_one_does_not_count(tmp_path: Path) -> None:
    failed = {**sample_row(0, SHAPE), "status": "failed", "latent": None, "checksum": None, "shape": None}
    data = small(tmp_path, [failed, *(sample_row(index, SHAPE) for index in range(3))])
    assert data.read(["s000"]).latents.shape == (1, *SHAPE)


def test_damaged_bytes_are_found_when_first_read(tmp_path: Path) -> None:
    rows = [sample_row(index, SHAPE) for index in range(3)]
    rows[1]["latent"] = rows[2]["latent"]
    data = small(tmp_path, rows)
    data.read(["s000", "s002"])
    with pytest.raises(DataError, match="s001 is damaged"):
        data.read(["s001"])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    import hashlib

    rows = [sample_row(index, SHAPE) for index in range(3)]
    broken = np.frombuffer(rows[0]["latent"], "<f4").copy()
    broken[5] = np.nan
    rows[0] |= {"latent": broken.tobytes(), "checksum": hashlib.sha256(broken.tobytes()).hexdigest()}
    with pytest.raises(DataError, match="latent of s000: holds values that are not finite"):
        small(tmp_path, rows).read(["s000"])


def test_what_is_missing_is_named_before_training(tmp_path: Path) -> None:
    rows = [sample_row(index, SHAPE) for index in range(3)]
    with pytest.raises(DataError, match="no latent of the member s002"):
        small(tmp_path / "a", rows[:2])
    with pytest.raises(DataError, match="no member of the training set d2"):
        small(tmp_path / "b", rows, digest="d2")
    with pytest.raises(DataError, match=r"cannot open .*latents\.lance at version 99"):
        small(tmp_path / "c", rows, latents_version=99)
    spec = write_training_set(tmp_path / "d", rows, [member(0, VIDEO, "k9")], [embedding_row("k1", 5)])
    with pytest.raises(DataError, match="no text states of the caption k9"):
        opened(spec, 16)
    with pytest.raises(DataError, match="names no embeddings"):
        opened({**spec, "embeddings_uri": None}, 16)


def test_a_bucket_has_one_shape_of_the_right_channels(tmp_path: Path) -> None:
    rows = [sample_row(0, SHAPE), sample_row(1, SHAPE), sample_row(2, (32, 3, 2, 4))]
    with pytest.raises(DataError, match=r"s002 is float32 \(32, 3, 2, 4\), but s000"):
        small(tmp_path / "a", rows)
    with pytest.raises(DataError, match="not of 16 channels"):
        small(tmp_path / "b", [sample_row(index, (24, 3, 2, 2)) for index in range(3)])
