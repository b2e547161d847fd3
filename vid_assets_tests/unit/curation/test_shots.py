import itertools
import time

import numpy as np
import pytest

from vid_assets.config import Shots
from vid_assets.curation.shots import find_clips
from vid_assets.curation.statistics import GroupStats
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.rendering import FOOTAGE, labels, needs_footage, pan, write_video

VIDEO = {"kind": "video"}

#: Cuts of the Sintel trailer that are too close to others to be seen by the adaptive rule.
MISSED = {"video/sintel_trailer_30s.mp4": {356}}

SINGLE_SHOTS = [path for path in sorted(FOOTAGE.glob("video/*")) if f"video/{path.name}" not in labels()]


def clips_of(path, config):
    return find_clips(header(path), measured(path, ("change", "light")), config)


def synthetic(times, content, luma=100.0):
    """Groups as `measure` would fill them."""
    luma = luma if isinstance(luma, list) else [luma] * len(times)
    return {
        "change": GroupStats("change", "1", list(times), {"content": [None, *content[1:]]}),
        "light": GroupStats("light", "1", list(times), {"luma": luma}),
    }


@needs_footage
@pytest.mark.parametrize("name", [name for name in labels() if name.startswith("video/")])
def test_hard_cuts_of_real_footage_are_found(name):
    truth = labels()[name]
    truth = truth.get("stream3", truth)
    clips = clips_of(FOOTAGE / name, Shots(trim_s=0, max_clip_s=1e6))
    ends = np.cumsum([clip.frame_count for clip in clips])
    assert ends[-1] == truth["frames"]
    found = set(ends[:-1].tolist())
    assert not [cut for cut in set(truth["hard_cuts"]) - MISSED.get(name, set()) if not found & {cut - 1, cut, cut + 1}]


@needs_footage
@pytest.mark.parametrize("path", SINGLE_SHOTS, ids=lambda path: path.name)
def test_no_cut_is_seen_where_there_is_one_shot(path):
    assert len(clips_of(path, Shots(max_clip_s=1e6))) == 1


def test_cuts_lie_on_the_presentation_clock_of_a_variable_rate_file(tmp_path):
    """Frame 40 of 80 at an average of 14.5 fps would be at 2.8 s; it is shown at 1.6 s."""
    times_ms = [*range(0, 1600, 40), *range(1600, 5600, 100)]
    path = write_video(tmp_path / "vfr.mp4", pan(1, 40) + pan(2, 40), times_ms=times_ms)
    first, second = clips_of(path, Shots())
    assert (first.start_s, first.end_s, first.frame_count) == pytest.approx((0, 1.48, 37), abs=0.021)
    assert (second.start_s, second.frame_count) == pytest.approx((1.7, 39), abs=0.001)
    assert second.end_s == pytest.approx(5.6, abs=0.07)


def test_trim_at_cuts_but_not_at_the_ends_of_the_file():
    times = np.arange(100) / 25
    content = [1.0] * 100
    content[50] = 80.0
    first, second = find_clips(VIDEO, synthetic(times, content), Shots(trim_s=0.1))
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 1.88))
    assert (second.start_s, second.end_s) == pytest.approx((2.12, 4.0))
    assert (first.frame_count, second.frame_count) == (47, 47)


def test_a_very_short_shot_is_a_clip_that_keeps_its_frames():
    content = [1.0] * 60
    content[30] = content[32] = 80.0
    clips = find_clips(VIDEO, synthetic(np.arange(60) / 25, content), Shots(trim_s=0.1))
    assert [clip.frame_count for clip in clips] == [27, 2, 25]


def test_a_fade_divides_and_the_dark_stretch_is_a_shot_of_its_own():
    luma = [100.0] * 30 + [60, 30, 5, 0, 0, 0, 13, 30] + [100.0] * 30
    content = [1.0] * len(luma)
    content[35] = 70.0  # hue noise in the dark is no cut
    clips = find_clips(VIDEO, synthetic(np.arange(len(luma)) / 25, content, luma), Shots(trim_s=0))
    assert [clip.frame_count for clip in clips] == [32, 5, 31]


def test_repeated_frames_in_a_fast_pan_are_no_cuts():
    content = [20.0 if frame % 3 == 0 else 0.0 for frame in range(120)]
    assert len(find_clips(VIDEO, synthetic(np.arange(120) / 60, content), Shots())) == 1


def test_a_slide_show_is_cut_at_every_slide():
    content = [30.0 if frame % 50 == 0 else 0.0 for frame in range(200)]
    assert len(find_clips(VIDEO, synthetic(np.arange(200) / 25, content), Shots())) == 4


@pytest.mark.parametrize(
    ("seconds", "longest", "parts"), [(10, 16, 1), (16, 16, 1), (33, 16, 3), (32, 16, 2), (5, 0.3, 18)]
)
def test_long_shots_are_divided_evenly_and_lose_nothing(seconds, longest, parts):
    times = np.arange(seconds * 25) / 25
    clips = find_clips(VIDEO, synthetic(times, [1.0] * len(times)), Shots(max_clip_s=longest))
    assert len(clips) == parts and sum(clip.frame_count for clip in clips) == len(times)
    assert max(clip.end_s - clip.start_s for clip in clips) <= longest + 1e-6
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(clips))


def test_a_gap_of_hours_in_damaged_timestamps_is_divided_at_once():
    times = np.append(np.arange(100) / 25, 1e9 + np.arange(50) / 25)
    start = time.perf_counter()
    clips = find_clips(VIDEO, synthetic(times, [1.0] * 150), Shots())
    assert time.perf_counter() - start < 1
    assert [clip.frame_count for clip in clips] == [99, 1, 50]


def test_no_splitter_gives_one_shot():
    content = [1.0] * 60
    content[30] = 80.0
    (clip,) = find_clips(VIDEO, synthetic(np.arange(60) / 25, content), Shots(splitter="none"))
    assert clip.splitter == "none"


def test_stills_one_frame_videos_and_nothing():
    (still,) = find_clips({"kind": "image"}, synthetic([0.0], [0.0]), Shots())
    assert (still.start_s, still.end_s, still.frame_count, still.kind) == (0, 0, 1, "image")
    (single,) = find_clips(VIDEO, synthetic([0.5], [0.0]), Shots())
    assert single.kind == "image" and single.start_s == single.end_s == 0.5
    assert find_clips(VIDEO, synthetic([], []), Shots()) == []
