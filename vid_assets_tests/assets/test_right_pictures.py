"""The pictures that are stored are those of the footage, whatever form it comes in, and what was wrong is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.assets.encode import latent_plan
from vid_assets.cli import main
from vid_assets.curation.groups import GROUPS
from vid_assets.store.cache import Output
from vid_assets.store.tables import Store
from vid_assets_tests.harness import Home, bump, checks_of, work_of
from vid_assets_tests.unit.footage.ffmpeg import ffmpeg, needs_ffmpeg, render
from vid_assets_tests.unit.footage.rendering import pan

pytestmark = needs_ffmpeg
CASES = FOOTAGE.parent / "cases"
BATCH = "b00001"


def check(home: Home, name: str) -> tuple[bool, str]:
    """What a check of the batch's latents finds."""
    found = checks_of(work_of(home.project, "latents", BATCH), Output("seen before", "seen before", 0))[name]
    return bool(found.passed), str(found.description)


def ids(store: Store) -> list[str]:
    return [row["video_id"] for row in store.read("videos")]


def routes(home: Home) -> dict[str, set[str]]:
    """Name of a file -> the decoders that its latents are of."""
    names = {row["video_id"]: Path(row["uri"]).name for row in home.rows("sources")}
    found: dict[str, set[str]] = {}
    for row in home.rows("latents"):
        found.setdefault(names[row["source_hash"]], set()).add(row["decoder"].split()[0])
    return found


def test_latents_of_a_decoder_that_showed_other_frames_are_made_anew_and_no_others(home, monkeypatch):
    made = home(text_encoder=None, encoding={"audit": 50})
    frames = pan(7, 96)
    render(made.footage / "closed.mp4", frames, "-c:v", "libx264", "-g", "24", "-bf", "2")
    open_groups = "keyint=24:min-keyint=24:scenecut=0:b-adapt=0:log-level=error"
    render(made.footage / "open.mp4", frames[::-1], "-c:v", "libx265", "-x265-params", open_groups)
    with monkeypatch.context() as before:  # as a release did that counted no packets
        before.delitem(GROUPS, "packets")
        bump(before, "frame_stats", "before")
        before.setattr(f"{latent_plan.__name__}._packets", lambda store, where: dict.fromkeys(ids(store)))
        before.setattr(f"{latent_plan.__name__}.in_order", lambda packets, frames: True)
        made.run()
        assert routes(made) == {"closed.mp4": {"decord"}, "open.mp4": {"decord"}}
        passed, words = check(made, "same_frames")
        assert not passed and "open.mp4" in words and "closed.mp4" not in words
    windows = len(made.rows("samples"))
    counts = made.run()
    assert routes(made) == {"closed.mp4": {"decord"}, "open.mp4": {"decord", "pyav"}}
    assert counts == {f"frame_stats[{BATCH}]": 2, f"latents[{BATCH}]": windows // 2}
    assert check(made, "same_frames")[0]
    assert made.run() == {}


def test_a_file_that_was_cut_without_encoding_anew_is_encoded(home, tmp_path):
    """Phones and lossless cutters leave pictures in a file that are not shown, and an edit list that says so."""
    made = home(text_encoder=None)
    path = render(tmp_path / "whole.mp4", pan(8, 120), "-c:v", "libx264", "-g", "48", "-bf", "2")
    ffmpeg("-ss", "1.1", "-i", path, "-c", "copy", made.footage / "cut.mp4")
    made.run()
    latents = made.rows("latents")
    assert latents and {row["status"] for row in latents} == {"ok"}
    assert routes(made) == {"cut.mp4": {"pyav"}}
    assert made.run() == {}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs at {CASES}")
def test_files_that_were_cut_by_others_are_encoded(home):
    made = home(text_encoder=None)
    for path in sorted((CASES / "trimmed").iterdir()):
        shutil.copy(path, made.footage)
    made.run()
    latents = made.rows("latents")
    assert len({row["source_hash"] for row in latents}) == 2
    assert {row["status"] for row in latents} == {"ok"}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs at {CASES}")
def test_a_rate_that_is_nearly_that_of_the_bucket_fills_it(home):
    """Film is 24000/1001 a second, and called 24."""
    made = home(text_encoder=None)
    for path in sorted((CASES / "ntsc").iterdir()):
        shutil.copy(path, made.footage)
    made.stage("short")["buckets"] = ["1x32x48", "73x32x48@24"]
    made.run()
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    long = [names[row["video_id"]] for row in made.rows("samples", "bucket = '73x32x48@24'")]
    assert sorted(long) == ["film23976.mp4", "film24.mp4"]
    assert made.run() == {}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs at {CASES}")
def test_what_is_not_shown_as_it_is_stored_is_told_and_in_the_key(home, monkeypatch, capsys):
    made = home(text_encoder=None)
    for path in (*(CASES / "interlaced").iterdir(), *(CASES / "hdr").iterdir(), CASES / "alpha" / "under_qtrle.mov"):
        shutil.copy(path, made.footage)
    made.run()
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    done = {names[row["source_hash"]]: row["transform"].partition("full")[0] for row in made.rows("latents")}
    assert done.get("pq.mp4", "pq-to-sdr;") == "pq-to-sdr;" and done["same_scene_progressive.mp4"] == ""
    assert made.metadata[f"raw_videos[{BATCH}]"]["not shown as stored"] == {
        "bwdif;": 1, "pq-to-sdr;": 1, "on-black;": 1,
    }  # fmt: skip
    clips = {row["clip_id"]: names[row["video_id"]] for row in made.rows("clips")}
    lost = {clips[row["clip_id"]]: clips[row["duplicate_of"]] for row in made.rows("duplicates")}
    assert lost["fields_flagged.mp4"] == "same_scene_progressive.mp4", "the copy without combs is kept"
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    main(["why", "pq.mp4"])
    assert "not shown as it is stored: pq-to-sdr" in capsys.readouterr().out
