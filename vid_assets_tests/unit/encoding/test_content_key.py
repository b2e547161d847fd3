"""The content key of a latent: everything that makes it, and nothing else."""

from __future__ import annotations

import contextlib
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vid_assets.config import Bucket
from vid_assets.encoding import encoder as encoder_module
from vid_assets.encoding.content_key import LatentParts, latent_parts, transform_name
from vid_assets.encoding.encoder import LocalEncoder, Task
from vid_assets.encoding.windows import Window
from vid_assets.store.schemas import table_spec

VIDEO = Bucket.parse("5x32x48@8")
STREAM = {
    "video_id": "source",
    "kind": "video",
    "stream_index": 0,
    "rotation": 90,
    "is_mirrored": False,
    "sample_aspect": None,
}
CLOCK = [frame / 24 for frame in range(240)]
GIVEN: dict[str, Any] = {
    "video": STREAM,
    "timestamps": CLOCK,
    "window": Window(VIDEO, 1.5, 3),
    "crop": (0, 8, 96, 48),
    "decoder": "pyav 17",
    "vae_family": "hunyuan_video",
    "weights_hash": "weights",
    "encode_settings": "{}",
    "posterior": "moments",
    "code_version": "1.1",
}
PARTS = latent_parts(**GIVEN)

TEXT = st.text(max_size=12)
SECONDS = st.floats(0, 1e5, allow_nan=False)
ANY_PARTS = st.builds(
    LatentParts,
    source_hash=TEXT,
    stream_index=st.none() | st.integers(0, 9),
    rotation=st.none() | st.sampled_from([0, 90, 180, 270]),
    start_s=SECONDS,
    clock=TEXT,
    fps=st.none() | st.floats(0.5, 240),
    frames=st.integers(1, 200),
    height=st.integers(16, 2000),
    width=st.integers(16, 2000),
    transform=TEXT,
    decoder=TEXT,
    vae=TEXT,
    weights_hash=TEXT,
    encode_settings=TEXT,
    posterior=TEXT,
    code_version=TEXT,
)


@settings(max_examples=200, deadline=None)
@given(ANY_PARTS, ANY_PARTS, st.sampled_from([field.name for field in fields(LatentParts)]))
def test_any_single_part_that_differs_makes_another_key(one, other, name):
    changed = replace(one, **{name: getattr(other, name)})
    assert (changed.sample_id == one.sample_id) == (changed == one)


@settings(max_examples=100, deadline=None)
@given(ANY_PARTS, TEXT, TEXT)
def test_text_that_moves_from_one_part_to_the_next_makes_another_key(parts, one, other):
    left = replace(parts, vae=one + other, weights_hash="")
    right = replace(parts, vae=one, weights_hash=other)
    assert (left.sample_id == right.sample_id) == (left == right)


def test_the_key_stays_what_it_is():
    """A changed way of hashing would encode everything anew: that must be on purpose."""
    assert PARTS.sample_id == "06df21e2d8de97c0cf4883ec4f6047e50f9660d9355ade4f53c88885574bb19b"


@pytest.mark.parametrize(
    "change",
    [
        {"video": STREAM | {"video_id": "another file"}},
        {"video": STREAM | {"stream_index": 3}},
        {"video": STREAM | {"rotation": 0}},
        {"video": STREAM | {"is_mirrored": True}},
        {"video": STREAM | {"sample_aspect": 4 / 3}},
        {"timestamps": [time_s + 0.01 for time_s in CLOCK]},
        {"window": Window(VIDEO, 1.625, 3)},
        {"window": Window(Bucket.parse("9x32x48@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x48x48@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x32x32@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x32x48@12"), 1.5, 3)},
        {"crop": None},
        {"crop": (0, 8, 96, 46)},
        {"decoder": "decord 0.6.0"},
        {"vae_family": "wan"},
        {"weights_hash": "other weights"},
        {"encode_settings": '{"tiling":true}'},
        {"posterior": "mean"},
        {"code_version": "2.1"},
    ],
    ids=lambda change: "-".join(change),
)
def test_each_thing_that_changes_a_latent_changes_its_key(change):
    assert latent_parts(**GIVEN | change).sample_id != PARTS.sample_id


def test_the_number_of_a_window_is_not_in_its_key():
    """A clip that begins elsewhere has other numbers for the same stretch of video."""
    assert latent_parts(**GIVEN | {"window": Window(VIDEO, 1.5, 0)}).sample_id == PARTS.sample_id


def test_a_rename_another_batch_and_another_caption_are_not_in_the_key():
    elsewhere = STREAM | {"uri": "moved.mp4", "ingest_batch": "b00009", "caption_key": "c", "cache_key": "k"}
    assert latent_parts(**GIVEN | {"video": elsewhere}).sample_id == PARTS.sample_id


def test_frames_that_are_not_taken_are_not_in_the_key():
    assert latent_parts(**GIVEN | {"timestamps": [*CLOCK, 10.5]}).sample_id == PARTS.sample_id


def test_places_batches_and_the_cutting_of_work_are_no_parts():
    names = {field.name for field in fields(LatentParts)}
    assert not names & {"uri", "ingest_batch", "batch_size", "flush_rows", "device", "threads", "clip_id", "index"}


def test_every_part_is_a_column_of_the_table():
    columns = {field.name for field in table_spec("latents").columns}
    assert {field.name for field in fields(LatentParts)} <= columns


def test_the_crop_is_in_the_transform():
    assert transform_name(None) != transform_name((0, 0, 96, 64))
    assert "crop=0,8,96,48" in transform_name((0, 8, 96, 48))


# --- what the encoder makes of the parts


def tasks(count: int, folder: str = "/here", fail: int | None = None) -> list[Task]:
    found = []
    for index in range(count):
        window = Window(VIDEO, index * 0.625, index)
        parts = latent_parts(**GIVEN | {"window": window, "crop": None})
        uri = f"{folder}/{'broken' if index == fail else 'good'}.mp4"
        found.append(Task(parts, window, {"uri": uri}, {"kind": "video"}, [], "pyav", None))
    return found


def encode(vae: Any, frames: np.ndarray) -> np.ndarray:
    """Moments that show which frames went in."""
    mean = frames.astype(np.float32).mean(axis=(1, 2, 3, 4))
    return np.broadcast_to(mean[:, None, None, None, None], (len(frames), 4, 1, 2, 3)).copy()


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames whose value is their window's start; `broken.mp4` cannot be decoded."""

    def read(path, video, times_s, route, timestamps):
        if "broken" in path:
            raise encoder_module.DecodeError(path, "bad data\nand more")
        return np.full((len(times_s), 64, 96, 3), int(times_s[0] * 8), np.uint8)

    monkeypatch.setattr(encoder_module, "read_frames", read)
    monkeypatch.setattr(encoder_module, "opened", lambda source: contextlib.nullcontext(source["uri"]))
    monkeypatch.setattr(encoder_module, "refuse_changed", lambda source: None)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_neither_the_batch_size_nor_the_place_changes_a_row(frames, batch_size):
    def rows(folder: str, size: int) -> dict[str, tuple[str, bytes]]:
        made = LocalEncoder(lambda: None, encode, "moments", size).rows(tasks(7, folder))
        return {row["sample_id"]: (row["checksum"], row["latent"]) for row in made}

    found = rows("/here", batch_size)
    assert len(found) == 7
    assert found == rows("/elsewhere", 1)


def test_the_posterior_mean_is_half_of_the_moments(frames):
    (moments,) = LocalEncoder(lambda: None, encode, "moments", 1).rows(tasks(1))
    (mean,) = LocalEncoder(lambda: None, encode, "mean", 1).rows(tasks(1))
    assert (moments["shape"], mean["shape"]) == ([4, 1, 2, 3], [2, 1, 2, 3])
    assert moments["latent"][: len(mean["latent"])] == mean["latent"]


def test_a_window_that_cannot_be_decoded_is_a_failed_row_and_the_others_go_on(frames):
    rows = {row["start_s"]: row for row in LocalEncoder(lambda: None, encode, "moments", 2).rows(tasks(3, fail=1))}
    assert {start: row["status"] for start, row in rows.items()} == {0.0: "ok", 0.625: "failed", 1.25: "ok"}
    assert "bad data" in rows[0.625]["error"]
    assert "\n" not in rows[0.625]["error"]
    assert rows[0.625]["latent"] is None


def test_a_vae_that_fails_on_one_window_is_tried_with_each_alone(frames):
    def picky(vae: Any, batch: np.ndarray) -> np.ndarray:
        if (batch == 5).any():
            raise RuntimeError("out of memory")
        return encode(vae, batch)

    rows = {row["start_s"]: row for row in LocalEncoder(lambda: None, picky, "moments", 4).rows(tasks(4))}
    assert {start: row["status"] for start, row in rows.items()} == {
        0.0: "ok", 0.625: "failed", 1.25: "ok", 1.875: "ok",
    }  # fmt: skip
    assert rows[0.625]["error"] == "the VAE failed: out of memory"


def test_values_that_are_not_finite_are_a_failed_row(frames):
    def infinite(vae: Any, batch: np.ndarray) -> np.ndarray:
        made = encode(vae, batch)
        made[:, 0, 0, 0, 0] = np.nan
        return made

    (row,) = LocalEncoder(lambda: None, infinite, "moments", 1).rows(tasks(1))
    assert row["status"] == "failed"
    assert "not finite" in row["error"]


def test_nothing_to_encode_loads_no_vae():
    def load() -> None:
        raise AssertionError("the VAE was loaded")

    assert list(LocalEncoder(load, encode, "moments", 1).rows([])) == []
