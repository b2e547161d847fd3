"""The home that the former release made: what was right in it is not made again, and what broke is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from vid_assets.project import Project
from vid_assets.reports.staleness import standings
from vid_assets.store.tables import Row
from vid_assets_tests.harness import InProcessTraining
from vid_assets_tests.homes import FOOTAGE, materialize_all, project_in, recorded, restored

#: Where the versions of decoders are asked for: those of this machine may be other ones than the home was made with.
_DECODERS = ("latents", "latent_plan")


#: Tables of which no row may change.
KEPT = ("sources", "videos", "clips", "clip_scores", "verdicts", "duplicates", "captions", "latents", "samples", "runs")


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the former home, and with all that it was made from."""
    with restored(tmp_path):
        decoders = recorded(tmp_path)["decoders"]
        for name in _DECODERS:
            monkeypatch.setattr(f"vid_assets.assets.encode.{name}.decoder_version", decoders.__getitem__)
        yield tmp_path


def conditions(project: Project) -> dict[str, str]:
    return {one.name: one.condition for one in standings(project)}


def held(project: Project) -> dict[str, list[Row]]:
    """The rows of the tables `KEPT`, but for what says by which release each was made."""
    made_by = ("cache_key", "content_hash", "policy_version")
    return {
        name: [{key: value for key, value in row.items() if key not in made_by} for row in project.store.read(name)]
        for name in KEPT
    }


#: What this release makes that the former did not: asset -> the table of which each row of a batch gives one.
NEW_ROWS = {
    "raw_videos": "videos",  # headers are read anew
    "frame_stats": "videos",  # the group `packets`
    "clip_scores": "clips",  # decoded_ratio by another formula
    "curated_clips": "clips",  # limits are not broken by a rounding
    "duplicates": None,  # ranked anew
    "latents": None,  # windows are planned anew
}


def test_what_is_right_is_not_made_again(former):
    project, names = project_in(former), recorded(former)["assets"]
    stale = {name for name, condition in conditions(project).items() if condition == "stale"}
    assert {name.partition("[")[0] for name in stale} == set(NEW_ROWS)
    before = held(project)
    found = materialize_all(project, InProcessTraining())
    for name, shown in found.items():
        asset, _, batch = name.rstrip("]").partition("[")
        table = NEW_ROWS.get(asset)
        new = project.store.count(table, f"ingest_batch = '{batch}'") if table else 0
        assert shown["misses"] == new, name
    assert conditions(project) == dict.fromkeys(names, "fresh")
    assert held(project) == before
    assert {shown["cache"] for shown in materialize_all(project, InProcessTraining()).values()} == {"hit"}


def test_a_state_that_lacked_an_input_has_it_from_then_on(former):
    project = project_in(former)

    def read() -> tuple[dict[str, Any], Any]:
        state = project.states.read("training_set/short", None)
        assert state is not None
        return state.fingerprint.inputs, state.finished_at

    before, finished = read()
    assert "copies" not in before
    materialize_all(project, InProcessTraining())
    after, still = read()
    assert after == before | {"copies": after["copies"]} and still == finished, "and nothing was made"
    row = project.store.read("duplicates")[0]
    project.store.upsert("duplicates", [row | {"duplicate_of": row["clip_id"]}])
    found = next(one for one in standings(project) if one.name == "training_set/short")
    assert any("copies" in reason for reason in found.reasons)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, 1))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def delete(folder: Path, table: str, key: str) -> None:
    store = project_in(folder).store
    first = store.read(table, columns=[key])[0]
    store.delete(table, f"{key} = '{first[key]}'")


def film_again(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    written = memory.store[f"{FOOTAGE}/one.mp4"].created
    memory.pipe_file(f"{FOOTAGE}/one.mp4", (folder / "footage" / "two.mp4").read_bytes())
    memory.store[f"{FOOTAGE}/one.mp4"].created = written


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


BREAKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a limit": (lambda f: edit(f / "config.yaml", "  fps_min: 10", "  fps_min: 11"), "curated_clips"),
    "a file of footage": (film_again, "source_files"),
    "a state": (lambda f: flip(f / "home/state/clips/b00002.json", 200), "clips[b00002]"),
    "a row of verdicts": (lambda f: delete(f, "verdicts", "clip_id"), "curated_clips"),
    "a latent": (lambda f: delete(f, "latents", "sample_id"), "latents"),
    "an embedding": (lambda f: delete(f, "embeddings", "key"), "image_embeddings"),
    "a checkpoint": (
        lambda f: edit(one(f, "home/checkpoints/*/short/*/final/curves.json"), "{", "{ "),
        "checkpoint/short[one]",
    ),
    "weights to start from": (
        lambda f: flip(f / "models/denoiser/diffusion_pytorch_model.safetensors", -1),
        "checkpoint/short[one]",
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_no_hit_any_more(former, broken):
    spoil, name = BREAKS[broken]
    spoil(former)
    found = {one for one, condition in conditions(project_in(former)).items() if condition not in ("fresh", "waiting")}
    assert any(one.startswith(name) for one in found), found
