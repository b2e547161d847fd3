"""Real footage, odd files among it, through the whole chain: nothing crashes, and each file is accounted for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.labelled.footage import FOOTAGE
from vid_assets_tests.harness import Home
from vid_assets_tests.unit.footage.rendering import needs_footage

pytestmark = [pytest.mark.slow, needs_footage]

#: Files that hold no picture, and what their row in `videos` says.
NO_VIDEO = {
    "odd/zero_frames.gif": "holds no frame",
    "odd/audio_only.mp4": "no video stream.*only audio",
    "odd/no_streams.mp4": "no video stream|no stream",
    "odd/zero_bytes.webm": "empty",
    "odd/lfs_pointer.gif": "Git LFS pointer",
    "odd/noext_webm_fuzz": "not a video or image that can be read",
}
#: Files that open and cannot be decoded whole, and what their proof says.
NOT_WHOLE = {
    "odd/corrupted_tail.mp4": "Invalid data",
}
#: Odd files that are fine: name -> kind, width, height as displayed, frames.
FINE = {
    "odd/rot90_3frames.mov": ("video", 320, 568, 3),
    "odd/one_frame_8x8.webm": ("video", 8, 8, 1),
    "odd/mpeg4p2_one_frame.mp4": ("video", 256, 144, 1),
    "odd/var_fps.mp4": ("video", 128, 128, 300),
    "images/portrait-orientation-6.jpg": ("image", 840, 700, 1),
    "images/denali.webp": ("image", 600, 315, 1),
    "video/exo_sample_av1.mp4": ("video", 1080, 720, 30),
    "video/exo_hevc_hlg_10bit_rot.mp4": ("video", 1080, 1920, 9),
}


@dataclass
class Told:
    """The tables after the run, by the file's name below the footage folder."""

    home: Home
    sources: dict[str, dict[str, Any]]
    videos: dict[str, dict[str, Any]]
    proofs: dict[str, dict[str, Any]]
    again: dict[str, int]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Told]:
    home = Home(
        tmp_path_factory.mktemp("real"),
        models,
        sources=[{"uri": str(FOOTAGE)}],
        stages=[
            {
                "name": "short",
                "buckets": ["1x32x48", "9x32x48@8"],
                "image_share": 0.25,
                "steps": 2,
                "batch_size": 2,
            }
        ],
        encoding={"batch_size": 8, "flush_rows": 200},
        ingest={"settle_s": 0},
        evaluation={"videos": 1, "sampling_steps": 1},
        policy={"duration_min": 0.2},
    )
    home.run(training=True)
    again = home.run()
    sources = {str(Path(row["uri"]).relative_to(FOOTAGE)): row for row in home.rows("sources")}
    videos = {row["video_id"]: row for row in home.rows("videos")}
    proofs = {row["video_id"]: row for row in home.rows("frame_stats", "`group` = 'proof'")}
    yield Told(
        home,
        sources,
        {name: videos[row["video_id"]] for name, row in sources.items()},
        {name: proofs[row["video_id"]] for name, row in sources.items() if row["video_id"] in proofs},
        again,
    )
    home.instance.dispose()


def expected_files() -> set[str]:
    return {
        str(path.relative_to(FOOTAGE))
        for folder in ("video", "odd", "images")
        for path in (FOOTAGE / folder).iterdir()
        if path.is_file()
    }


def test_every_file_is_listed_and_has_a_video(chain: Told):
    assert set(chain.sources) == expected_files()
    assert {row["state"] for row in chain.sources.values()} == {"present"}
    assert len({row["video_id"] for row in chain.sources.values()}) == len(chain.sources), "no two files collide"


def test_each_file_is_a_failed_row_or_has_a_proof(chain: Told):
    for name, video in chain.videos.items():
        if video["status"] == "failed":
            assert video["error"], name
            assert name not in chain.proofs
        else:
            assert (video["status"], video["error"]) == ("ok", None)
            proof = chain.proofs[name]
            assert proof["status"] == "ok" or proof["error"], name


def test_files_without_a_picture_are_failed_rows_that_say_why(chain: Told):
    failed = {name: row["error"] for name, row in chain.videos.items() if row["status"] == "failed"}
    assert set(failed) == set(NO_VIDEO)
    for name, pattern in NO_VIDEO.items():
        assert re.search(pattern, failed[name]), f"{name}: {failed[name]}"
        assert "\n" not in failed[name]


def test_files_that_do_not_decode_whole_say_so_in_frame_stats(chain: Told):
    failed = {name: row["error"] for name, row in chain.proofs.items() if row["status"] != "ok"}
    assert set(failed) == set(NOT_WHOLE)
    for name, pattern in NOT_WHOLE.items():
        assert re.search(pattern, failed[name]), f"{name}: {failed[name]}"
    assert chain.proofs["odd/corrupted_tail.mp4"]["packet_errors"] > 0


@pytest.mark.parametrize("name", FINE)
def test_odd_files_that_are_fine(chain: Told, name: str):
    kind, width, height, frames = FINE[name]
    video, proof = chain.videos[name], chain.proofs[name]
    assert (video["kind"], video["width"], video["height"]) == (kind, width, height)
    assert proof["status"] == "ok"
    assert len(proof["timestamps"]) == frames


def test_every_readable_file_has_clips_scores_and_verdicts(chain: Told):
    clips = chain.home.rows("clips")
    with_clips = {row["video_id"] for row in clips}
    readable = {name for name, row in chain.videos.items() if row["status"] == "ok"}
    without = {name for name in readable if chain.videos[name]["video_id"] not in with_clips}
    assert not without
    keys = {row["clip_id"] for row in clips}
    assert {row["clip_id"] for row in chain.home.rows("clip_scores")} == keys
    verdicts = {row["clip_id"]: row for row in chain.home.rows("verdicts")}
    assert set(verdicts) == keys
    for row in verdicts.values():
        assert row["accepted"] == (not row["failures"])


def test_clips_of_a_damaged_file_are_rejected_for_it(chain: Told):
    damaged = chain.videos["odd/corrupted_tail.mp4"]["video_id"]
    verdicts = {row["clip_id"]: row for row in chain.home.rows("verdicts")}
    clips = [row for row in chain.home.rows("clips") if row["video_id"] == damaged]
    assert clips
    for clip in clips:
        rules = {failure["rule"] for failure in verdicts[clip["clip_id"]]["failures"]}
        assert rules & {"decoded_ratio_min", "corrupt_frames_max"}


def test_every_kept_clip_has_its_latents(chain: Told):
    latents = {row["sample_id"]: row for row in chain.home.rows("latents")}
    samples = chain.home.rows("samples")
    assert samples
    assert {row["status"] for row in latents.values()} == {"ok"}
    assert {row["sample_id"] for row in samples} == set(latents)
    lost = {row["clip_id"] for row in chain.home.rows("duplicates")}
    accepted = {row["clip_id"] for row in chain.home.rows("verdicts") if row["accepted"]}
    assert {row["clip_id"] for row in samples} <= accepted - lost
    stills = {row["clip_id"] for row in chain.home.rows("clips") if row["kind"] == "image"}
    assert stills & accepted - lost <= {row["clip_id"] for row in samples}


def test_it_trains_and_a_second_pass_computes_nothing(chain: Told):
    (run,) = chain.home.rows("runs")
    assert run["stage"] == "short"
    assert len([row for row in chain.home.rows("metrics") if row["name"] == "loss"]) == 2
    assert chain.again == {}
