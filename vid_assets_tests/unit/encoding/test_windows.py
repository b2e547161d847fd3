"""Windows of clips in buckets, and frames brought to the size of a bucket."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vid_assets.curation.continuity import Event
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.transform import fit_frames
from vid_assets.encoding.windows import nearest_aspects, plan_windows
from vid_assets.footage.decode import frames_on_screen

BUCKETS = [
    Bucket.parse(text)
    for text in ("1x96x128", "1x128x96", "5x96x128@8", "5x128x96@8", "17x96x128@8", "17x96x128@24", "9x192x256@12.5")
]


def starts(bucket: str, start_s: float, end_s: float) -> list[float]:
    return [window.start_s for window in plan_windows("video", start_s, end_s, 128, 96, [Bucket.parse(bucket)]).windows]


def test_a_clip_is_filled_from_its_start():
    assert starts("5x96x128@8", 10.0, 12.5) == [10.0, 10.625, 11.25, 11.875]
    assert starts("5x96x128@8", 10.0, 12.4) == [10.0, 10.625, 11.25]


def test_a_clip_that_is_too_short_has_no_window():
    assert starts("17x96x128@8", 0.0, 2.1) == []
    assert starts("17x96x128@8", 0.0, 2.125) == [0.0]


def test_an_image_has_one_window_in_the_nearest_aspect():
    (window,) = plan_windows("image", 0.0, 0.0, 640, 480, BUCKETS).windows
    assert (window.bucket.name, window.times_s) == ("1x96x128", (0.0,))
    (window,) = plan_windows("image", 0.0, 0.0, 480, 640, BUCKETS).windows
    assert window.bucket.name == "1x128x96"


def test_the_first_frame_of_a_clip_is_an_image_where_that_is_asked_for():
    black = Event("black", 10.0, 10.5, 1.0)
    plan = plan_windows("video", 10.0, 12.5, 640, 480, BUCKETS, events=[black], first_frame=True)
    images = [window for window in plan.windows if window.bucket.kind == "image"]
    assert [(window.bucket.name, window.times_s) for window in images] == [("1x96x128", (10.5,))]
    without = plan_windows("video", 10.0, 12.5, 640, 480, BUCKETS, events=[black])
    assert [window for window in plan.windows if window not in images] == without.windows
    assert len(plan_windows("image", 0.0, 0.0, 640, 480, BUCKETS, first_frame=True).windows) == 1


def test_a_video_goes_to_one_of_the_alternatives_and_to_every_other_shape():
    names = [bucket.name for bucket in nearest_aspects(1920, 1080, [b for b in BUCKETS if b.kind == "video"])]
    assert names == ["5x96x128@8", "9x192x256@12.5", "17x96x128@8", "17x96x128@24"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["video", "image"]),
    st.floats(0, 5000),
    st.floats(0, 60),
    st.integers(16, 4000),
    st.integers(16, 4000),
    st.lists(st.sampled_from(BUCKETS), unique=True),
)
def test_windows_lie_in_their_clip_and_do_not_overlap(kind, start_s, length_s, width, height, buckets):
    end_s = start_s + (length_s if kind == "video" else 0)
    windows = plan_windows(kind, start_s, end_s, width, height, buckets).windows
    by_bucket: dict[str, list] = {}
    for window in windows:
        assert window.bucket in buckets
        assert window.bucket.kind == kind
        by_bucket.setdefault(window.bucket.name, []).append(window)
    for found in by_bucket.values():
        assert [window.index for window in found] == list(range(len(found)))
        step = 1 / found[0].bucket.fps if found[0].bucket.fps else 0.0
        for window in found:
            assert len(window.times_s) == window.bucket.frames
            assert window.times_s[0] >= start_s - 1e-5
            assert window.times_s[-1] + step <= end_s + 1e-4
        for one, other in itertools.pairwise(found):
            assert other.times_s[0] - one.times_s[-1] >= step - 1e-5
        if step:  # none is left out
            assert end_s - (found[-1].times_s[-1] + step) < found[0].bucket.frames * step + 1e-5


@settings(max_examples=100, deadline=None)
@given(st.integers(16, 4000), st.integers(16, 4000), st.permutations(BUCKETS))
def test_the_order_of_the_buckets_in_the_config_does_not_matter(width, height, buckets):
    assert nearest_aspects(width, height, buckets) == nearest_aspects(width, height, BUCKETS)


def gradient(height: int, width: int) -> np.ndarray:
    """A picture whose red tells the column and whose green the row."""
    picture = np.zeros((1, height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width)[None, :]
    picture[..., 1] = np.linspace(0, 255, height)[:, None]
    return picture


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 200), st.integers(8, 200), st.sampled_from([16, 32, 96]), st.sampled_from([16, 48, 128]),
    st.integers(1, 3),
)  # fmt: skip
def test_frames_get_exactly_the_size_of_the_bucket(source_h, source_w, height, width, count):
    frames = np.repeat(gradient(source_h, source_w), count, axis=0)
    fitted = fit_frames(frames, height, width)
    assert fitted.shape == (count, height, width, 3)
    assert fitted.dtype == np.uint8


def test_frames_of_the_right_size_stay_as_they_are():
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 48, 3), np.uint8)
    assert np.array_equal(fit_frames(frames, 32, 48), frames)


def test_what_sticks_out_is_cut_evenly_and_nothing_is_stretched():
    fitted = fit_frames(gradient(64, 256), 64, 64)[0]
    assert fitted[32, 0, 0] == pytest.approx(255 * 96 / 255, abs=2)
    assert fitted[32, -1, 0] == pytest.approx(255 * 159 / 255, abs=2)
    assert (fitted[0, 0, 1], fitted[-1, 0, 1]) == (0, 255), "the whole height is there"


def test_the_crop_box_is_cut_out_first():
    picture = np.zeros((1, 64, 96, 3), np.uint8)
    picture[:, 16:48] = 200  # a letterboxed picture
    fitted = fit_frames(picture, 32, 96, crop=(0, 16, 96, 32))
    assert (fitted == 200).all()


def test_shrinking_averages_and_does_not_alias():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 254
    assert np.unique(fit_frames(stripes, 16, 16)).tolist() == [127]


def plan(bucket: Bucket | str, end_s: float, events: list[Event] = (), fps: float = 24.0, **options: float):
    """The plan of a clip from 0 to `end_s` of a source of `fps`."""
    bucket = Bucket.parse(bucket) if isinstance(bucket, str) else bucket
    times = np.arange(round(end_s * fps)) / fps
    return plan_windows("video", 0.0, end_s, 128, 96, [bucket], times, events, **options)


@pytest.mark.parametrize("frames", [72, 73])
def test_long_windows_of_72_and_73_frames(frames):
    bucket = Bucket(frames=frames, height=576, width=1024, fps=24)
    assert [window.start_s for window in plan(bucket, 6.2).windows] == [0.0, round(frames / 24, 6)]


@pytest.mark.parametrize("kind", ["cut", "transition", "gap", "corrupt", "black"])
def test_no_window_holds_what_interrupts_a_clip(kind):
    found = plan("17x96x128@8", 11.0, [Event(kind, 3.0, 3.5, 1.0), Event(kind, 3.1, 3.2, 1.0)])
    after = 3.1 if kind == "cut" else 3.5
    assert [window.start_s for window in found.windows] == [0.0, after, after + 2.125, after + 4.25]


def test_a_stretch_too_short_for_any_window_says_so():
    found = plan("17x96x128@8", 3.0, [Event("cut", 1.0, 1.04, 2.0)])
    assert found.windows == []
    assert [(one.start_s, one.end_s) for one in found.left_out] == [(0.0, 1.0), (1.0, 3.0)]
    assert "shorter than the 2.12 s" in found.left_out[0].reason


def test_a_source_with_fewer_frames_than_the_bucket_has_no_window():
    found = plan("17x96x128@24", 4.0, fps=12.0)
    assert found.windows == []
    assert [one.reason for one in found.left_out] == ["fewer frames than the 24 a second of the bucket"]
    assert len(plan("17x96x128@12", 4.0, fps=12.0).windows) == 2


def test_a_repeated_frame_that_no_moment_takes_does_no_harm():
    repeat = [Event("freeze", 1.0, 1.0 + 1 / 24, 1 / 24)]
    assert [window.start_s for window in plan("17x96x128@8", 4.3, repeat).windows] == [0.0, 2.125]
    longer = [Event("freeze", 1.0, 1.25, 0.25)]
    found = plan("17x96x128@8", 4.3, longer)
    assert len(found.windows) == 1 and found.windows[0].start_s >= 1.0
    assert found.left_out[0].reason == "repeated frames"


def test_a_window_at_the_full_rate_begins_behind_the_repeated_frame():
    found = plan("17x96x128@24", 2.0, [Event("freeze", 0.25, 0.25 + 1 / 24, 1 / 24)])
    assert [window.start_s for window in found.windows] == [0.25, round(0.25 + 17 / 24, 6)]


def test_a_window_needs_motion_for_long_enough():
    still = [Event("still", 1.0, 5.0, 0.0)]
    assert [window.start_s for window in plan("17x96x128@8", 9.0, still).windows] == [0.0, 2.125, 4.25, 6.375]
    found = plan("17x96x128@8", 9.0, still, motion_share_min=0.5)
    assert [window.start_s for window in found.windows] == [4.0, 6.125]
    assert found.left_out[0].reason == "motion in less than 50% of the time"


@pytest.mark.parametrize("phase", range(24))
def test_a_clock_of_milliseconds_gives_every_moment_a_frame_of_its_own(phase):
    times = np.round(np.arange(phase, phase + 72) / 24, 3)
    bucket = Bucket.parse("33x96x128@24")
    found = plan_windows("video", times[0], times[-1] + 1 / 24, 128, 96, [bucket], times)
    assert len(found.windows) == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["cut", "gap", "freeze", "still"]), st.floats(0, 12), st.floats(0.05, 2)), max_size=6
    ),
    st.sampled_from(BUCKETS[2:]),
)
def test_every_window_is_one_coherent_stretch(found, bucket):
    events = [Event(kind, start, start + length, 1.0) for kind, start, length in found]
    times = np.arange(12 * 24) / 24
    result = plan_windows("video", 0.0, 12.0, 128, 96, [bucket], times, events, motion_share_min=0.6)
    for one, other in itertools.pairwise(result.windows):
        assert other.start_s >= one.start_s + bucket.frames / bucket.fps - 1e-5
    for window in result.windows:
        start, end = window.start_s, window.start_s + bucket.frames / bucket.fps
        assert len(set(frames_on_screen(times, window.times_s))) == bucket.frames
        for event in events:
            if event.kind == "cut":
                assert not start + 1e-5 < event.start_s < end - 1e-5
            if event.kind == "gap":
                assert event.end_s <= start + 1e-5 or event.start_s >= end - 1e-5
    for one in result.left_out:
        assert 0 <= one.start_s < one.end_s <= 12.0 + 1e-6
        assert one.reason


def clock(count: int, rate: float, jitter_s: float = 0.0) -> list[float]:
    """Frame times at a rate, each off by up to `jitter_s`."""
    off = np.random.default_rng(3).uniform(-jitter_s, jitter_s, count)
    return (np.round(np.arange(count) / rate + off - off.min(), 6)).tolist()


@pytest.mark.parametrize(
    ("bucket", "count", "rate", "jitter_s", "windows"),
    [
        ("73x96x128@24", 96, 24000 / 1001, 0.0, 1),
        ("129x96x128@24", 144, 24000 / 1001, 0.0, 1),
        ("121x96x128@24", 384, 24000 / 1001, 0.0, 3),
        ("65x96x128@30", 90, 30000 / 1001, 0.0, 1),
        ("65x96x128@30", 470, 29.8, 0.003, 7),
        ("65x96x128@30", 140, 60000 / 1001, 0.0, 1),  # by time: every other frame, none twice
        ("73x96x128@23.976", 73, 24.0, 0.0, 1),  # long enough by its own clock
        ("73x96x128@24", 72, 24000 / 1001, 0.0, 0),
        ("73x96x128@24", 96, 23.0, 0.0, 0),  # another rate
        ("73x96x128@24", 96, 25.0, 0.0, 1),
    ],
)
def test_rates_that_are_equal_in_name_take_successive_frames(bucket, count, rate, jitter_s, windows):
    times = clock(count, rate, jitter_s)
    plan = plan_windows("video", 0.0, times[-1] + 1 / rate, 128, 96, [Bucket.parse(bucket)], times)
    taken = [frames_on_screen(np.array(times), window.times_s).tolist() for window in plan.windows]
    assert len(taken) == windows
    flat = list(itertools.chain(*taken))
    assert len(set(flat)) == len(flat), "no frame is taken twice"
    for window, frames in zip(plan.windows, taken, strict=True):
        assert len(window.times_s) == len(frames) == window.bucket.frames
        if window.moments:
            assert frames == list(range(frames[0], frames[0] + len(frames)))


def test_a_missing_frame_is_no_nearly_equal_rate():
    times = clock(97, 24000 / 1001)
    del times[40]
    plan = plan_windows("video", 0.0, times[-1] + 1 / 24, 128, 96, [Bucket.parse("73x96x128@24")], times)
    assert plan.windows == [] and plan.left_out[0].reason == "fewer frames than the 24 a second of the bucket"
