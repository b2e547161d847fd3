"""The guard of the hand-bumped code versions, and a guard of the guard."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest

from vid_assets_tests import record_code_versions as guard

SHOTS = "vid_assets/curation/shots.py"


def test_no_algorithm_changed_under_an_old_version():
    recorded = json.loads(guard.RECORD.read_text(encoding="utf-8"))
    found = guard.problems(recorded, here())
    assert not found, "\n".join([*found.values(), "How to record it: see vid_assets_tests/record_code_versions.py"])


def test_every_file_of_the_algorithms_is_covered_or_exempt():
    assert guard.uncovered() == []


def test_every_asset_is_covered():
    assert set(guard.versions()) == set(guard.COVERED)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the covered source, to be changed."""
    for path in ("model", "vid_assets"):
        shutil.copytree(guard.REPO / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def edit(folder: Path, path: str, old: str, new: str) -> None:
    text = (folder / path).read_text(encoding="utf-8")
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1), encoding="utf-8")


here = functools.cache(guard.current)


def unbumped(folder: Path) -> set[str]:
    return set(guard.problems(here(), guard.current(folder)))


def test_comments_docstrings_and_formatting_are_no_change(copy):
    text = (copy / SHOTS).read_text(encoding="utf-8")
    (copy / SHOTS).write_text('"""Other words."""\n# and a comment\n' + text.replace("\n\n\n", "\n\n\n\n"), "utf-8")
    assert unbumped(copy) == set()


def test_a_changed_declaration_is_no_change_of_the_algorithm(copy):
    edit(copy, "vid_assets/assets/curate/clips.py", 'upstream=("raw_videos", ', "upstream=(")
    edit(copy, "vid_assets/assets/train/training_set.py", "tolerant=True", "tolerant=False")
    assert unbumped(copy) == set()


def test_a_changed_algorithm_is_noticed_for_its_assets_alone(copy):
    with (copy / SHOTS).open("a", encoding="utf-8") as file:
        file.write("\nSOMETHING = 1\n")
    assert unbumped(copy) == {"clips"}


def test_a_change_in_a_shared_file_is_noticed_in_every_asset_that_uses_it(copy):
    with (copy / "vid_assets/footage/geometry.py").open("a", encoding="utf-8") as file:
        file.write("\nSOMETHING = 1\n")
    assert unbumped(copy) == {"raw_videos", "frame_stats", "latents"}


def test_one_function_of_a_shared_file_concerns_its_asset_alone(copy):
    edit(
        copy, "vid_assets/assets/curate/curated_clips.py", '"accepted": not failures', '"accepted": bool(not failures)'
    )
    assert unbumped(copy) == {"curated_clips"}


def test_a_bumped_version_is_asked_to_be_recorded(copy):
    edit(copy, SHOTS, "SHOTS_VERSION = ", "SHOTS_VERSION = 'x' + ")
    found = guard.problems(here(), guard.current(copy, guard.versions() | {"clips": "next"}))
    assert set(found) == {"clips"}
    assert "record it" in found["clips"]
    assert "unbumped" not in found["clips"]


def test_recording_refuses_a_change_without_a_bump(copy, tmp_path, capsys):
    record = tmp_path / "record.json"
    assert guard.main([], record, here()) == 0
    before = record.read_text(encoding="utf-8")
    edit(copy, "vid_assets/curation/policy.py", "def judge(", "def judge_(")
    now = guard.current(copy)
    assert guard.main([], record, now) == 1
    assert "curated_clips: unbumped" in capsys.readouterr().err
    assert record.read_text(encoding="utf-8") == before
    assert guard.main(["--same-output", "clips"], record, now) == 1, "another asset was named"
    assert guard.main(["--same-output", "curated_clips"], record, now) == 0
    assert guard.problems(json.loads(record.read_text(encoding="utf-8")), now) == {}


def test_recording_takes_a_bump(copy, tmp_path, capsys):
    record = tmp_path / "record.json"
    guard.main([], record, here())
    edit(copy, "vid_assets/curation/policy.py", "def judge(", "def judge_(")
    now = guard.current(copy, guard.versions() | {"curated_clips": "next"})
    assert guard.main([], record, now) == 0
    assert "recorded curated_clips" in capsys.readouterr().out
    assert json.loads(record.read_text(encoding="utf-8"))["curated_clips"]["version"] == "next"
