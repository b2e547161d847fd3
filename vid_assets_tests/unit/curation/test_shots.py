import itertools
import time

import numpy as np
import pytest

from benchmarks.labelled.footage import FOOTAGE, labels
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.miniatures import HEIGHT, WIDTH, pack
from vid_assets.curation.settings import Shots
from vid_assets.curation.shots import find_clips, standard_cuts
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, write_video

VIDEO = {"kind": "video"}

SINGLE_SHOTS = [path for path in sorted(FOOTAGE.glob("video/*")) if f"video/{path.name}" not in labels()]


def clips_of(path, config):
    return find_clips(header(path), measured(path, ("change", "motion")), config)


def scene(seed, luma=110.0):
    """A miniature unlike that of any other seed, of the given mean luma."""
    rng = np.random.default_rng(seed)
    picture = luma + 40 * rng.standard_normal((HEIGHT, WIDTH, 3))
    return np.clip(picture, 0, 255)


def synthetic(times, pictures, motion=None):
    """Groups as `measure` would fill them, of miniatures that change and do not move; a little noise in all frames."""
    steps = [1.0 + float(np.abs(after - before).mean()) for before, after in itertools.pairwise(pictures)]
    columns = ("content", "luma_change", "coarse_change", "residual")
    change = GroupStats("change", "1", list(times), {name: [None, *steps] for name in columns})
    change.stats |= {name: [10.0] * len(pictures) for name in ("detail_x", "detail_y")}
    change.miniatures = pack([np.round(picture).astype(np.uint8) for picture in pictures])
    groups = {"change": change}
    if motion is not None:
        means = [float(value) for value in motion]
        since = [None, *(float(value) for value in list(times)[:-1])]
        groups["motion"] = GroupStats("motion", "1", list(times), {"mean": means, "since": since})
    return groups


def shots(*lengths, rate=25.0):
    """Statistics of shots of the given lengths in frames, with hard cuts between them."""
    pictures = [scene(seed) for seed, length in enumerate(lengths) for _ in range(length)]
    return synthetic(np.arange(len(pictures)) / rate, pictures)


@needs_footage
@pytest.mark.parametrize("name", [name for name in labels() if name.startswith("video/")])
def test_real_footage_is_cut_within_a_frame_of_every_hard_cut_and_nowhere_else(name):
    truth = labels()[name]
    truth = truth.get("stream3", truth)
    times = np.array(measured(FOOTAGE / name)["change"].timestamps)
    assert len(times) == truth["frames"]
    clips = clips_of(FOOTAGE / name, Shots(trim_s=0, max_clip_s=1e6))
    found = {clip.start_s for clip in clips if clip.starts_with == "cut"}
    found |= {clip.end_s for clip in clips if clip.ends_with == "cut"}
    frames = np.searchsorted(times, sorted(found))
    assert len(frames) == len(truth["hard_cuts"])
    assert np.abs(frames - truth["hard_cuts"]).max() <= 1


@needs_footage
def test_no_clip_of_real_footage_shows_a_fade():
    """Those at the very ends of the file, and a flash of white into which nothing is cut, are left to the eye."""
    truth = labels()["video/sintel_trailer_30s.mp4"]["transitions"]
    times = measured(FOOTAGE / "video/sintel_trailer_30s.mp4")["change"].timestamps
    clips = clips_of(FOOTAGE / "video/sintel_trailer_30s.mp4", Shots(max_clip_s=1e6))
    fades = [fade for fade in truth["fade_out"] + truth["fade_in"] if fade[0] > 0 and fade[1] < len(times) - 1]
    assert len(fades) == 7
    for first, last in fades:
        inside = [clip for clip in clips if clip.start_s < times[last - 3] and clip.end_s > times[first + 3]]
        assert not [clip for clip in inside if clip.end_s - clip.start_s > 0.5], (first, last)


@needs_footage
def test_the_dissolve_of_real_footage_is_left_out():
    path = FOOTAGE / "video/nasa_13013.mp4"
    before, after, *_ = clips_of(path, Shots(trim_s=0))
    assert (before.ends_with, after.starts_with) == ("dissolve", "dissolve")
    # The label is of the copy at 25 fps in the same file, whose clock is the same
    assert before.end_s <= 125 / 25 + 0.12 and after.start_s >= 148 / 25 - 0.12


@needs_footage
@pytest.mark.parametrize("path", SINGLE_SHOTS, ids=lambda path: path.name)
def test_no_cut_is_seen_where_there_is_one_shot(path):
    assert len(clips_of(path, Shots(max_clip_s=1e6))) == 1


def test_a_variable_rate_file_cut_at_ten_seconds_is_cut_at_ten_seconds(tmp_path):
    """Frame 120 of 180, at an average of 11 fps: by its number alone the cut would be at 11.2 s."""
    times_ms = [*range(0, 8000, 100), *range(8000, 10000, 50), *range(10000, 16000, 100)]
    assert times_ms[120] == 10000
    path = write_video(tmp_path / "vfr.mp4", pan(1, 120) + pan(2, 60), times_ms=times_ms)
    first, second = clips_of(path, Shots(trim_s=0))
    assert first.end_s == second.start_s == 10.0
    assert (first.frame_count, second.frame_count) == (120, 60)
    assert second.end_s == pytest.approx(16.0, abs=0.051)


def test_trim_at_cuts_but_not_at_the_ends_of_the_file():
    first, second = find_clips(VIDEO, shots(50, 50), Shots(trim_s=0.1))
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 1.88))
    assert (second.start_s, second.end_s) == pytest.approx((2.12, 4.0))
    assert (first.frame_count, second.frame_count) == (47, 47)
    assert (first.starts_with, first.ends_with, second.starts_with, second.ends_with) == ("file", "cut", "cut", "file")


def test_a_very_short_shot_is_a_clip_that_keeps_its_frames():
    clips = find_clips(VIDEO, shots(30, 2, 28), Shots(trim_s=0.1))
    assert [clip.frame_count for clip in clips] == [27, 2, 25]


def test_a_fade_through_black_is_in_no_clip():
    out = [scene(1) * (1 - step / 10) for step in range(1, 10)]
    black = [np.zeros((HEIGHT, WIDTH, 3))] * 5
    back = [scene(2) * step / 8 for step in range(1, 8)]
    pictures = [scene(1)] * 30 + out + black + back + [scene(2)] * 30
    before, after = find_clips(VIDEO, synthetic(np.arange(len(pictures)) / 25, pictures), Shots(trim_s=0))
    assert (before.ends_with, after.starts_with) == ("fade", "fade")
    assert 28 <= before.frame_count <= 30 and 28 <= after.frame_count <= 30


def test_a_long_black_stretch_is_a_shot_of_its_own():
    black = [np.zeros((HEIGHT, WIDTH, 3))] * 40
    pictures = [scene(1)] * 30 + black + [scene(2)] * 30
    clips = find_clips(VIDEO, synthetic(np.arange(len(pictures)) / 25, pictures), Shots(trim_s=0))
    assert [(clip.frame_count, clip.ends_with) for clip in clips] == [(30, "cut"), (40, "cut"), (30, "file")]


def test_a_dark_scene_is_no_fade():
    """Night footage has a low mean luma, but is not plain."""
    pictures = [np.clip(scene(1, luma=0.0) / 3, 0, 255)] * 60
    assert np.mean(pictures[0]) < Shots().fade_luma
    assert len(find_clips(VIDEO, synthetic(np.arange(60) / 25, pictures), Shots())) == 1


@pytest.mark.parametrize(("light", "parts"), [(24.0, 2), (110.0, 1)])
def test_a_cut_in_the_dark_changes_less_than_one_by_day(light, parts):
    pictures = [np.clip(scene(seed, luma=110.0) * light / 110.0, 0, 255) for seed in (1, 2) for _ in range(25)]
    groups = synthetic(np.arange(50) / 25, pictures)
    for name, usual, cut in (("content", 4.0, 35.0), ("coarse_change", 0.7, 6.2), ("residual", 0.6, 5.5)):
        groups["change"].stats[name] = [None, *[usual] * 24, cut, *[usual] * 24]
    # By day, pictures this unlike would differ more
    assert np.count_nonzero(standard_cuts(groups) >= 1) == parts - 1


@pytest.mark.parametrize("rows", [True, False])
def test_a_dissolve_between_bars_is_left_out(rows):
    """Bars are alike in both shots, which must not make the shots alike."""
    share = np.concatenate([np.zeros(30), np.linspace(0, 1, 18)[1:-1], np.ones(30)])
    pictures = [scene(1) * (1 - one) + scene(2) * one for one in share]
    for picture in pictures:
        bars = (
            (slice(None, 2), slice(-2, None))
            if rows
            else ((slice(None), slice(None, 4)), (slice(None), slice(12, None)))
        )
        for bar in bars:
            picture[bar] = (0, 128, 128)
    before, after = find_clips(VIDEO, synthetic(np.arange(len(pictures)) / 25, pictures), Shots(trim_s=0))
    assert before.ends_with == after.starts_with == "dissolve"
    assert 28 <= before.frame_count <= 32 and 28 <= after.frame_count <= 32


def test_repeated_frames_in_a_fast_pan_are_no_cuts():
    steps = [20.0 if frame % 3 == 0 else 0.0 for frame in range(120)]
    groups = shots(120)
    groups["change"].timestamps = (np.arange(120) / 60).tolist()
    groups["change"].stats = {name: [None, *steps[1:]] for name in groups["change"].stats}
    assert len(find_clips(VIDEO, groups, Shots())) == 1


def test_a_slide_show_is_cut_at_every_slide():
    groups = shots(50, 50, 50, 50)
    for values in groups["change"].stats.values():
        values[1:] = [value - 1.0 for value in values[1:]]  # no noise: slides stand still
    assert len(find_clips(VIDEO, groups, Shots())) == 4


def test_footage_without_colour_is_cut_as_well(tmp_path):
    """Hue and saturation do not differ there, which makes PySceneDetect's difference a third of that in colour."""
    gray = [
        np.repeat(frame.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) for frame in pan(1, 20) + pan(2, 20)
    ]
    assert [clip.frame_count for clip in clips_of(write_video(tmp_path / "gray.mp4", gray), Shots(trim_s=0))] == [
        20,
        20,
    ]


@pytest.mark.parametrize(
    ("seconds", "longest", "parts"), [(10, 16, 1), (16, 16, 1), (33, 16, 3), (32, 16, 2), (5, 0.3, 18)]
)
def test_long_shots_without_known_motion_are_divided_evenly_and_lose_nothing(seconds, longest, parts):
    clips = find_clips(VIDEO, shots(seconds * 25), Shots(max_clip_s=longest))
    assert len(clips) == parts and sum(clip.frame_count for clip in clips) == seconds * 25
    assert max(clip.end_s - clip.start_s for clip in clips) <= longest + 1e-6
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(clips))


@pytest.mark.parametrize("seconds", [16.4, 20, 31, 32, 47.9, 100])
def test_long_shots_are_divided_where_they_are_at_rest(seconds):
    """The footage moves for 1.5 s and rests for half a second, over and over."""
    times = np.arange(round(seconds * 25)) / 25
    motion = np.where(times % 2.0 < 1.5, 0.02, 0.0)
    groups = synthetic(times, [scene(0)] * len(times), motion)
    clips = find_clips(VIDEO, groups, Shots())
    assert sum(clip.frame_count for clip in clips) == len(times)
    assert max(clip.end_s - clip.start_s for clip in clips) <= 16 + 1e-6
    assert min(clip.end_s - clip.start_s for clip in clips) > 0.5 * seconds / len(clips)
    assert len(clips) >= 2 and clips[0].ends_with == clips[1].starts_with == "division"
    for clip in clips[1:]:
        assert clip.start_s % 2.0 >= 1.5


def test_steady_motion_is_divided_evenly():
    times = np.arange(20 * 25) / 25
    groups = synthetic(times, [scene(0)] * len(times), np.full(len(times), 0.02))
    assert [clip.frame_count for clip in find_clips(VIDEO, groups, Shots())] == [250, 250]


def test_a_gap_of_hours_in_damaged_timestamps_is_divided_at_once():
    times = np.append(np.arange(100) / 25, 1e9 + np.arange(50) / 25)
    groups = synthetic(times, [scene(0)] * 150, np.full(150, 0.02))
    start = time.perf_counter()
    clips = find_clips(VIDEO, groups, Shots())
    assert time.perf_counter() - start < 1
    assert [clip.frame_count for clip in clips] == [99, 1, 50]


def test_no_splitter_gives_one_shot():
    (clip,) = find_clips(VIDEO, shots(30, 30), Shots(splitter="none"))
    assert clip.splitter == "none" and clip.frame_count == 60


def test_the_standard_detector_says_how_clear_a_cut_is():
    strength = standard_cuts(shots(30, 30))
    assert strength[30] >= 1 and strength[0] == 0
    assert np.delete(strength, 30).max() < 0.5


def test_stills_one_frame_videos_and_nothing():
    (still,) = find_clips({"kind": "image"}, shots(1), Shots())
    assert (still.start_s, still.end_s, still.frame_count, still.kind) == (0, 0, 1, "image")
    single = shots(1)
    single["change"].timestamps = [0.5]
    (clip,) = find_clips(VIDEO, single, Shots())
    assert clip.kind == "image" and clip.start_s == clip.end_s == 0.5
    nothing = shots(2)
    nothing["change"] = GroupStats("change", "1", [], {name: [] for name in nothing["change"].stats})
    assert find_clips(VIDEO, nothing, Shots()) == []
    assert standard_cuts(nothing).shape == (0,)
