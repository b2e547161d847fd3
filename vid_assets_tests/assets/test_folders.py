"""Folders as people have them: links, names of other systems, other programs' files, texts that cannot be read."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.cli import main
from vid_assets.footage.opening import CHANGED
from vid_assets_tests.harness import CURATION, Home

CASES = FOOTAGE.parent / "cases"
BATCH = "b00001"
UP_TO_STATS = ("raw_videos", "frame_stats")


def statuses(made: Home) -> dict[str, tuple[str, str | None]]:
    """Name of a file -> status and error of its header's row."""
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources") if row["state"] == "present"}
    return {
        names[row["video_id"]]: (row["status"], row["error"]) for row in made.rows("videos") if row["video_id"] in names
    }


def captions(made: Home) -> dict[str, str | None]:
    """Name of a file -> the caption of its clips."""
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    videos = {row["clip_id"]: row["video_id"] for row in made.rows("clips")}
    return {names[videos[row["clip_id"]]]: row["caption"] for row in made.rows("captions")}


def proofs(made: Home) -> dict[str, str | None]:
    """Name of a file -> why it is not proved whole."""
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    return {names[row["video_id"]]: row["error"] for row in made.rows("frame_stats", "`group` = 'proof'")}


def test_links_are_read_as_what_they_lead_to(home, put, tmp_path):
    made = home(text_encoder=None)
    put(made, "one.mp4")
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.move(made.footage / "one.mp4", kept / "one.mp4")
    (kept / "one.txt").write_text("a cat on a mat")
    for name in ("one.mp4", "one.txt"):
        (made.footage / name).symlink_to(kept / name)
    put(made, "two.mp4")
    (made.footage / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    made.scan()
    made.materialize(CURATION, BATCH)
    assert {name: status for name, (status, _) in statuses(made).items()} == {"one.mp4": "ok", "two.mp4": "ok"}
    assert captions(made) == {"one.mp4": "a cat on a mat", "two.mp4": None}
    before = os.stat(kept / "one.txt").st_mtime_ns
    (kept / "one.txt").write_text("a dog on a mat")  # of the same length
    os.utime(kept / "one.txt", ns=(before + 10**9, before + 10**9))
    made.scan()
    made.materialize(CURATION, BATCH)
    assert captions(made)["one.mp4"] == "a dog on a mat"


def test_a_name_is_no_address(home, put):
    made = home(text_encoder=None)
    put(made, "one.mp4")
    for number, name in enumerate(("a::b.mp4", "c#d?e.mp4", "f%20g [h].mp4")):
        shutil.copy(made.footage / "one.mp4", made.footage / name)
        with (made.footage / name).open("ab") as file:
            file.write(bytes(number + 1))  # another content
    made.scan()
    made.materialize(["raw_videos"], BATCH)
    assert len(statuses(made)) == 4 and {status for status, _ in statuses(made).values()} == {"ok"}


def test_a_file_that_changes_or_goes_after_the_scan_fails_its_row_alone(home, put):
    made = home(text_encoder=None)
    for name in ("one.mp4", "two.mp4"):
        put(made, name)
    Image.linear_gradient("L").save(made.footage / "still.png")
    made.scan()
    made.materialize(["raw_videos"], BATCH)
    os.utime(made.footage / "one.mp4", ns=(1, 1))  # the same bytes, written again
    (made.footage / "still.png").unlink()
    made.materialize(CURATION, BATCH)
    errors = proofs(made)
    assert errors["one.mp4"] == CHANGED and errors["two.mp4"] is None
    assert str(errors["still.png"]).startswith("cannot be read: ")
    assert len(made.rows("clips")) == 1
    counts = made.run()
    assert counts[f"frame_stats[{BATCH}]"] > 0
    assert proofs(made)["one.mp4"] is None and proofs(made)["two.mp4"] is None
    assert len(made.rows("clips", "kind = 'video'")) == 2
    assert made.run() == {}


def test_composed_and_decomposed_names_are_the_same(home, put):
    made = home(text_encoder=None)
    for name in ("one.mp4", "two.mp4"):
        put(made, name)
    on_a_mac = unicodedata.normalize("NFD", "café")
    (made.footage / "one.mp4").rename(made.footage / f"{on_a_mac}.mp4")
    (made.footage / "café.txt").write_text("a cup of coffee")
    (made.footage / "two.mp4").rename(made.footage / f"{on_a_mac}_2.mp4")
    (made.footage / "metadata.jsonl").write_text('{"file_name": "café_2.mp4", "caption": "two cups"}\n')
    made.scan()
    made.materialize(CURATION, BATCH)
    assert sorted(map(str, captions(made).values())) == ["a cup of coffee", "two cups"]
    assert made.metadata["source_files"]["captions without a file"] == {}


def test_texts_called_as_the_whole_file_and_those_of_none(home, put):
    made = home(text_encoder=None)
    for name in ("one.mp4", "two.mp4"):
        put(made, name)
    (made.footage / "one.mp4.txt").write_text("the whole name")
    (made.footage / "two.caption").write_text("the other suffix")
    (made.footage / "three.txt").write_text("of no file")
    made.scan()
    made.materialize(CURATION, BATCH)
    assert captions(made) == {"one.mp4": "the whole name", "two.mp4": "the other suffix"}
    assert made.metadata["source_files"]["captions without a file"] == {str(made.footage / "three.txt"): []}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs at {CASES}")
def test_a_folder_that_another_trainer_has_used(home):
    made = home(text_encoder=None)
    for path in (CASES / "kohya_folder").iterdir():
        shutil.copy(path, made.footage)
    (made.footage / "desktop.ini").write_text("[.ShellClassInfo]")
    made.scan()
    made.materialize(CURATION, BATCH)
    assert made.metadata[f"raw_videos[{BATCH}]"]["other files"] == 7
    assert made.metadata[f"raw_videos[{BATCH}]"]["unreadable"] == 0
    assert set(captions(made)) == {"clip0.mp4", "clip1.mp4", "clip2.mp4"} and all(captions(made).values())


def test_a_failed_check_says_which_files_and_what_to_do(home, put, monkeypatch, capsys):
    made = home(text_encoder=None)
    put(made, "one.mp4")
    for name in ("broken.mp4", "torn.mp4"):
        (made.footage / name).write_bytes(b"no video" * 100)
    made.scan()
    made.materialize(["raw_videos"], BATCH, fail=True)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["status"]) == 1
    told = capsys.readouterr().out
    assert "readable_share: 1 of 3 (33%)" in told and "broken.mp4: not a video" in told and "exclude" in told


def test_a_caption_that_cannot_be_read_leaves_its_samples_out(home, put, monkeypatch):
    made = home(text_encoder=None)
    for name in ("one.mp4", "two.mp4"):
        put(made, name)
    (made.footage / "one.txt").write_bytes("caf\xe9".encode("cp1252"))
    (made.footage / "two.txt").write_text("a cup")
    made.run()
    made.materialize(
        ["training_set/short"], run_config={"ops": {"training_set__short": {"config": {"allow_stale": True}}}}
    )
    shown = made.metadata["training_set/short"]
    unread = shown["left out, caption cannot be read"]
    assert unread > 0
    members = {row["sample_id"] for row in made.rows("training_set_members")}
    videos = {row["sample_id"]: row["video_id"] for row in made.rows("samples")}
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    assert {names[videos[sample]] for sample in members} == {"two.mp4"}
    assert made.run() == {}, "nothing is tried again until the text changes"
    (made.footage / "one.txt").write_text("a café")
    made.run()
    made.materialize(["training_set/short"])
    assert made.metadata["training_set/short"]["left out, caption cannot be read"] == 0
