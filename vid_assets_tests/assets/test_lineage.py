"""`vid-assets lineage`: from a checkpoint to its sources, from a video to its checkpoints, also where rows are gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vid_assets import cli
from vid_assets.commands.lineage import describe_checkpoint, describe_video
from vid_assets.home import prune, removal
from vid_assets.home.runs import run_named
from vid_assets.reports import lineage
from vid_assets.section import ConfigError
from vid_assets_tests.harness import Home
from vid_assets_tests.stored import Stored


def made_in(folder: Path) -> Stored:
    """Two videos in the set of `short`, one of them held out; the other alone in that of `long`, trained from it."""
    made = Stored(Home(folder / "home", folder / "no models", text_encoder=None))
    store = made.project.store
    one, two = made.video("one", samples=3), made.video("two")
    made.training_set("digest-short", one, kind="video", split="train")
    heldout = {"digest": "digest-short", "kind": "video", "split": "heldout"}
    members = [heldout | {"member_id": f"digest-short/{name}", "sample_id": name} for name in two]
    store.insert_absent("training_set_members", members)
    made.training_set("digest-long", one[:1], stage="long", kind="video", split="train")
    made.run("weights-a", "digest-short")
    made.run("weights-b", "digest-long", parent="weights-a", stage="long")
    dark = [{"rule": "luma_min", "value": 3.0, "limit": 20.0}]
    for name, failures in (("one", dark), ("two", [])):
        clip = {"clip_id": f"clip-{name}", "ingest_batch": "b00001"}
        store.upsert("verdicts", [clip | {"accepted": not failures, "failures": failures}])
        times = {"kind": "video", "start_s": 1.0, "end_s": 3.5}
        store.upsert("clips", [clip | times | {"video_id": made.video_id(name)}])
    return made


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """One that tests only look at."""
    return made_in(tmp_path_factory.mktemp("told"))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """One that a test may change."""
    return made_in(tmp_path)


def forward(stored: Stored, what: str) -> dict:
    run = run_named(stored.project, what)
    assert run is not None
    return lineage.forward(stored.project, run)


def sources(stage: dict) -> dict[str, dict]:
    return {Path(one["uris"][0]).stem if one["uris"] else "": one for one in stage["training_set"]["sources"]}


def test_a_checkpoint_is_followed_through_its_stages_to_clips_and_files(told):
    found = forward(told, "weights-b")
    assert [(one["stage"], one["run_key"]) for one in found["stages"]] == [
        ("long", "weights-b"),
        ("short", "weights-a"),
    ]
    long, short = found["stages"]
    assert long["start"] == {"from": "checkpoint", "weights_hash": "weights-a"}
    assert long["training_set"]["digest"] == "digest-long" and long["training_set"]["members"] == {"video train": 1}
    assert short["training_set"]["members"] == {"video heldout": 2, "video train": 3}
    one, two = sources(short)["one"], sources(short)["two"]
    assert (one["video_id"], one["uris"], one["state"]) == (told.video_id("one"), ["/footage/one.mp4"], "present")
    assert one["clips"] == [
        {
            "clip_id": "clip-one", "start_s": 1.0, "end_s": 3.5, "kind": "video", "samples": {"train": 3},
            "verdict": "rejected by luma_min",
        }
    ]  # fmt: skip
    assert two["clips"][0]["verdict"] == "kept" and two["samples"] == {"heldout": 2}
    assert not long["notes"] and not short["notes"] and not short["training_set"]["notes"]


@pytest.mark.parametrize("what", ["weights-b", "checkpoint/long[one]", "long[one]", "FOLDER", "FOLDER/final"])
def test_a_checkpoint_goes_by_its_folder_its_asset_or_the_beginning_of_its_key(told, what):
    folder = told.path("checkpoints", "one", "long", "weights-b")
    assert run_named(told.project, what.replace("FOLDER", str(folder))).run_key == "weights-b"


def test_a_beginning_that_means_several_names_them(told):
    with pytest.raises(ConfigError, match=r"weig means 2 runs; name one of them: weights-b \(.*; weights-a \("):
        run_named(told.project, "weig")


def test_a_run_that_was_made_again_by_force_does_not_make_its_key_ambiguous(stored):
    folder = stored.path("checkpoints", "one", "long", "weights-b")
    shutil.copytree(folder, folder.with_name("weights-b-before-20260101T000000"))
    assert run_named(stored.project, "weights-b").run_key == "weights-b"


def test_a_video_names_what_was_trained_on_it_and_what_started_from_that(told):
    found = lineage.used_by(told.project, "one.mp4")
    assert {one["run_key"]: one["samples"] for one in found["checkpoints"]} == {
        "weights-a": {"train": 3}, "weights-b": {"train": 1},
    }  # fmt: skip
    found = lineage.used_by(told.project, told.video_id("two")[:6])
    assert [(one["run_key"], one["samples"], one.get("through")) for one in found["checkpoints"]] == [
        ("weights-a", {"heldout": 2}, None), ("weights-b", {}, "weights-a"),
    ]  # fmt: skip
    text = "\n".join(describe_video(found))
    assert "2 in heldout: measured on, not trained on" in text and "started from run weights-a" in text


def test_an_unused_video_says_so_and_an_unknown_name_is_an_error(stored):
    stored.video("three")
    assert list(describe_video(lineage.used_by(stored.project, "three.mp4")))[1:] == ["  no checkpoint used it"]
    with pytest.raises(ConfigError, match="no file that was ever read is called so"):
        lineage.used_by(stored.project, "nothing.mp4")


def test_a_checkpoint_without_its_row_is_told_from_its_folder(stored):
    stored.project.store.delete("runs", "run_key = 'weights-a'")
    short = forward(stored, "weights-a")["stages"][0]
    assert short["notes"] == ["the table `runs` has no row of it; this is what its folder says"]
    assert set(sources(short)) == {"one", "two"}


def test_a_checkpoint_without_its_folder_is_told_from_its_row(stored):
    shutil.rmtree(stored.path("checkpoints", "one", "short", "weights-a"))
    long, short = forward(stored, "weights-b")["stages"]
    assert not short["there"] and "its folder is gone" in short["notes"][0]
    assert set(sources(short)) == {"one", "two"}
    stored.project.store.delete("runs", "run_key = 'weights-a'")
    (long,) = forward(stored, "weights-b")["stages"]
    assert long["notes"] == ["the checkpoint that it started from is gone, and all that was known of it"]


def test_a_video_that_was_taken_down_is_named_with_the_day(stored):
    removal.remove(stored.project, removal.removal_of(stored.project, "one.mp4"), progress=lambda text: None)
    short = forward(stored, "weights-a")["stages"][0]
    one = sources(short)["one"]
    assert one["state"].startswith("taken down on 20") and one["samples"] == {"train": 3}
    assert one["clips"][0]["verdict"] == "no clip of the present holds it"
    found = lineage.used_by(stored.project, "one.mp4")
    assert {one["run_key"] for one in found["checkpoints"]} == {"weights-a", "weights-b"}


def test_members_that_were_deleted_are_not_made_up(stored):
    stored.project.store.delete("training_set_members", "digest = 'digest-short'")
    stored.project.store.delete("latents", f"source_hash = '{stored.video_id('one')}'")
    long, short = forward(stored, "weights-b")["stages"]
    assert short["training_set"]["notes"] == ["its members were deleted; which sources it had is not known any more"]
    assert short["training_set"]["sources"] == []
    assert sources(long)[""]["state"] == "its latents were deleted, and with them what they were made from"


def test_prune_leaves_the_lineage_of_what_it_keeps(stored):
    stored.training_set("digest-newer", ["two-0"], kind="video", split="train")
    before = forward(stored, "weights-b")
    prune.delete(stored.project, prune.find(stored.project), progress=lambda text: None)
    assert forward(stored, "weights-b") == before


def test_a_long_list_is_cut_for_people_and_whole_in_json(told):
    stage = forward(told, "weights-a")
    stage["stages"][0]["training_set"]["sources"] *= 30
    text = list(describe_checkpoint(stage, 20))
    assert text[-1] == "    and 40 more sources; --all lists them"
    assert len([line for line in describe_checkpoint(stage, None) if "/footage/" in line]) == 60


def test_the_command_prints_lines_or_one_object(told, monkeypatch, capsys):
    monkeypatch.setattr(cli.Project, "from_environment", lambda: told.project)
    assert cli.main(["lineage", "weights-b"]) == 0
    text = capsys.readouterr().out
    assert "checkpoint/long[one]  run weights-b, weights weights-b\n" in text
    assert "\nstarted from checkpoint/short[one]" in text
    assert "clip clip-one  1.000-3.500 s  rejected by luma_min  3 in train" in text
    assert cli.main(["lineage", "--json", "two.mp4"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"][0]["run_key"] == "weights-a"
    assert cli.main(["lineage", "nothing"]) == 2
    assert "no checkpoint is meant by that, and no one video: nothing: no file" in capsys.readouterr().err


def test_where_a_run_comes_from_is_told_without_asking_who_trains(told, monkeypatch):
    """To ask takes a lock, which nobody can take on a home that is mounted to be read."""

    def refuse(lock: Path) -> bool:
        raise PermissionError(lock)

    monkeypatch.setattr("vid_assets.home.runs.is_locked", refuse)
    for folder in (told.project.local / "checkpoints").glob("*/*/*/"):
        (folder / ".lock").touch()
    assert forward(told, "weights-b")["stages"]
