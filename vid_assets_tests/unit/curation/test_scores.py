import shutil

import numpy as np
import pytest

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.metrics import METRICS
from vid_assets.curation.policy import Policy, judge
from vid_assets.curation.scores import score
from vid_assets.curation.settings import Shots
from vid_assets.curation.shots import find_clips
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.curation.tracks import HASH_RATE
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, texture, write_video


def scored(path, config=None):
    """Score of every clip of a file."""
    video, groups = header(path), measured(path)
    clips = find_clips(video, groups, config or Shots())
    source = SourceArrays(video, groups)
    return [(clip, score(vars(clip), source)) for clip in clips]


def rules(path, config=None, **policy):
    return [
        {failure.rule for failure in judge(clip.kind, result.metrics, Policy(short_side_min=200, **policy))}
        for clip, result in scored(path, config)
    ]


def test_a_good_clip_breaks_no_rule(tmp_path):
    path = write_video(tmp_path / "good.mp4", pan(11, 72))
    ((_, result),) = scored(path)
    assert set(result.metrics) == set(METRICS) and result.error is None and result.crop is None
    assert result.metrics["duration"] == pytest.approx(3) and result.metrics["fps"] == pytest.approx(24)
    assert result.metrics["timestamp_step"] == pytest.approx(1, abs=0.01)
    assert len(result.hashes) == 3 * HASH_RATE and len(result.packet_hash) == 64
    assert rules(path) == [set()]


def test_a_freeze_is_measured_in_seconds(tmp_path):
    frames = pan(12, 72)
    path = write_video(tmp_path / "freeze.mp4", frames[:24] + [frames[24]] * 24 + frames[25:49], crf="10")
    ((_, result),) = scored(path)
    assert result.metrics["longest_freeze"] == pytest.approx(23 / 24, abs=0.05)
    assert result.metrics["near_duplicate_share"] == pytest.approx(23 / 71, abs=0.02)
    assert rules(path) == [{"longest_freeze_max", "near_duplicate_share_max"}]


def test_a_gap_in_time_is_found(tmp_path):
    times_ms = [i * 40 + (400 if i >= 30 else 0) for i in range(72)]
    path = write_video(tmp_path / "gap.mp4", pan(13, 72), fps=25, times_ms=times_ms)
    ((_, result),) = scored(path)
    assert result.metrics["timestamp_step"] == pytest.approx(11, abs=0.1)


def test_flicker_but_not_a_steady_fade(tmp_path):
    frames = pan(14, 72)
    blink = [
        np.clip(image.astype(int) + (12 if i % 2 else -12), 0, 255).astype(np.uint8) for i, image in enumerate(frames)
    ]
    fade = [(image * (0.5 + i / 144)).astype(np.uint8) for i, image in enumerate(frames)]
    assert scored(write_video(tmp_path / "a.mp4", blink))[0][1].metrics["flicker"] == pytest.approx(23, abs=2)
    assert scored(write_video(tmp_path / "b.mp4", fade))[0][1].metrics["flicker"] < 1


def test_dark_overexposed_and_blurred_clips_are_named(tmp_path):
    import cv2

    frames = pan(15, 60)
    white = [np.where(image > 120, 255, image).astype(np.uint8) for image in frames]
    assert "clipped_share_max" in rules(write_video(tmp_path / "white.mp4", white))[0]
    soft = [cv2.GaussianBlur(image, (0, 0), 5) for image in frames]
    assert "sharpness_min" in rules(write_video(tmp_path / "soft.mp4", soft))[0]
    black = [np.zeros_like(image) for image in frames]
    assert {"luma_min", "black_share_max", "longest_freeze_max"} <= rules(write_video(tmp_path / "black.mp4", black))[0]


def test_a_cut_that_was_not_split_is_a_residual_cut(tmp_path):
    path = write_video(tmp_path / "cut.mp4", pan(16, 36) + pan(17, 36))
    ((_, whole),) = scored(path, Shots(splitter="none"))
    assert whole.metrics["residual_cut"] > 1 and whole.metrics["shot_rate"] == pytest.approx(1 / 3, abs=0.01)
    for _, part in scored(path):
        assert part.metrics["residual_cut"] < 1


def test_a_short_single_shot_is_no_montage(tmp_path):
    path = write_video(tmp_path / "short.mp4", pan(15, 18))
    ((_, result),) = scored(path)
    assert result.metrics["shot_rate"] == 0
    assert rules(path) == [{"duration_min"}]


def test_letterbox_is_cropped_in_displayed_pixels(tmp_path):
    frames = pan(18, 60, (640, 480))
    for image in frames:
        image[:60] = image[-60:] = 0
    ((_, result),) = scored(write_video(tmp_path / "bars.mp4", frames))
    x, y, width, height = result.crop
    assert (x, width) == (0, 640) and 60 <= y <= 64 and 352 <= height <= 360
    assert result.metrics["kept_area"] == pytest.approx(360 / 480, abs=0.02)
    assert result.metrics["short_side"] == height and result.metrics["aspect"] == pytest.approx(640 / height)


def test_a_dark_scene_is_not_taken_for_letterboxed(tmp_path):
    """Light falls off smoothly from the middle: no bar has a sharp edge."""
    rows, columns = np.mgrid[-1:1:240j, -1:1:320j]
    glow = np.exp(-4 * (rows**2 + columns**2))[..., None]
    frames = [(image * glow).astype(np.uint8) for image in pan(19, 60)]
    ((_, result),) = scored(write_video(tmp_path / "night.mp4", frames))
    assert result.crop is None and result.metrics["kept_area"] == 1


@needs_footage
def test_real_bars_are_found_and_real_night_is_left_alone():
    pig = scored(FOOTAGE / "video/mdn_pig.mp4")[0][1]
    assert 8 <= pig.crop[0] <= 12 and pig.crop[1] == 0 and pig.crop[3] == 480
    assert all(result.crop is None for _, result in scored(FOOTAGE / "video/nasa_13013.mp4"))


@needs_footage
def test_damaged_frames_count_in_the_clips_that_hold_them():
    results = scored(FOOTAGE / "odd/corrupted_tail.mp4", Shots(max_clip_s=1))
    counts = [result.metrics["corrupt_frames"] for _, result in results]
    assert counts[0] == 0 and counts[-1] > 0


def test_a_still_has_no_motion_and_that_is_no_failure(tmp_path):
    from PIL import Image

    Image.fromarray(texture(20, 300, 400)).save(tmp_path / "still.png")
    ((clip, result),) = scored(tmp_path / "still.png")
    assert clip.kind == "image" and len(result.hashes) == 1
    assert result.metrics["motion"] is None and result.metrics["duration"] is None
    assert judge("image", result.metrics, Policy()) == []


def test_identical_packets_share_a_hash_clip_by_clip(tmp_path):
    path = write_video(tmp_path / "a.mp4", pan(21, 30) + pan(22, 30))
    shutil.copy(path, tmp_path / "b.mp4")
    first = [result.packet_hash for _, result in scored(path)]
    assert first == [result.packet_hash for _, result in scored(tmp_path / "b.mp4")]
    assert len(set(first)) == 2


def test_a_window_without_frames_is_an_error_and_not_a_zero(tmp_path):
    path = write_video(tmp_path / "a.mp4", pan(23, 12, (64, 48)))
    clip = {"start_s": 90.0, "end_s": 91.0, "frame_count": 24, "kind": "video"}
    result = score(clip, SourceArrays(header(path), measured(path)))
    assert "no decoded frame" in result.error and set(result.metrics.values()) == {None}


def moved(frames, speed):
    """A crisp picture that moves to the left by `speed` widths a second, at 640x360 and 24 frames a second."""
    import cv2

    picture = cv2.resize(texture(31, 360, 1600), (1600, 360), interpolation=cv2.INTER_CUBIC)
    steps = np.arange(frames) * speed * 640 / 24
    offsets = steps if speed > 0 else steps - steps[-1]
    return [cv2.getRectSubPix(picture, (640, 360), (float(x) + 319.5, 179.5)) for x in offsets]


ENCODINGS = {
    "h264-12": ("libx264", "mp4", {"g": "12"}),
    "h264-250": ("libx264", "mkv", {"g": "250", "crf": "26"}),
    "hevc": ("libx265", "mp4", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
    "vp9": ("libvpx-vp9", "webm", {"cpu-used": "8", "deadline": "realtime", "crf": "32", "b": "0"}),
    "av1": ("libsvtav1", "mkv", {"preset": "12", "svtav1-params": "lp=1"}),
}


def test_motion_depends_neither_on_codec_nor_on_size_nor_on_direction(tmp_path):
    import cv2

    left = moved(40, 0.12)
    small = [cv2.resize(image, (256, 144), interpolation=cv2.INTER_AREA) for image in left]
    motion = {}
    for size, frames in (("640x360", left), ("256x144", small)):
        for name, (codec, suffix, options) in ENCODINGS.items():
            path = write_video(tmp_path / f"{name}-{size}.{suffix}", frames, codec=codec, **options)
            motion[f"{name} {size}"] = scored(path, Shots(splitter="none"))[0][1].metrics["motion"]
    # Half of 0.12 widths of 640 pixels, over the diagonal
    truth = 0.06 * 640 / np.hypot(640, 360)
    assert {name: value for name, value in motion.items() if abs(value / truth - 1) > 0.075} == {}
    right = scored(write_video(tmp_path / "right.mp4", moved(40, -0.12)), Shots(splitter="none"))[0][1].metrics
    assert right["motion"] == pytest.approx(motion["h264-12 640x360"], rel=0.03)


@pytest.mark.parametrize("speed", [0.004, 0.9])
def test_slow_and_fast_motion_are_measured_in_proportion(tmp_path, speed):
    path = write_video(tmp_path / "a.mp4", moved(28, speed))
    metrics = scored(path, Shots(splitter="none"))[0][1].metrics
    assert metrics["motion"] == pytest.approx(speed / 2 * 640 / np.hypot(640, 360), rel=0.15)
    assert metrics["motion_least"] <= metrics["motion"] <= metrics["motion_most"] <= metrics["motion_peak"]
    assert metrics["motion_share"] == 1 and metrics["shake"] < 0.002


def test_motion_of_a_tiny_picture_is_measured(tmp_path):
    import cv2

    frames = [cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA) for image in moved(28, 0.2)]
    metrics = scored(write_video(tmp_path / "a.mp4", frames, crf="10"), Shots(splitter="none"))[0][1].metrics
    assert metrics["motion"] == pytest.approx(0.1 * 640 / np.hypot(640, 360), rel=0.15)


@needs_footage
@pytest.mark.parametrize(
    ("name", "start_s"),
    [
        ("bbb_480p_30s.mp4", (13, 17, 25)),  # a bird that holds its breath repeats no frames
        ("intel_asl_walk.mkv", (0,)),  # one man before a still wall
        ("intel_asl_bird.mkv", (1,)),
        ("mdn_pig.mp4", (0,)),
        ("mdn_rabbit320.webm", (0,)),
        ("exo_bear_vp9.webm", (0,)),
    ],
)
def test_good_real_clips_are_kept(name, start_s):
    results = scored(FOOTAGE / "video" / name)
    for moment in start_s:
        (good,) = [(clip, result) for clip, result in results if clip.start_s <= moment < clip.end_s]
        assert judge(good[0].kind, good[1].metrics, Policy(short_side_min=200)) == []


@needs_footage
def test_real_frames_shown_twice_are_found():
    """From its fifth second on, most frames of this panorama come twice."""
    ((_, result),) = scored(FOOTAGE / "video/exo_london_320x240.mp4", Shots(splitter="none"))
    assert 0.3 < result.metrics["near_duplicate_share"] < 0.36
    assert all(event.start_s > 4.5 for event in result.continuity if event.kind == "freeze")


def test_a_source_is_searched_for_cuts_once_however_many_clips_it_has(tmp_path, monkeypatch):
    from vid_assets.curation import source_arrays as module

    calls = []
    monkeypatch.setattr(
        module, "standard_cuts", lambda groups, real=module.standard_cuts: calls.append(1) or real(groups)
    )
    results = scored(write_video(tmp_path / "a.mp4", pan(24, 72, (64, 48))), Shots(max_clip_s=0.5))
    assert len(results) >= 6 and calls == [1]
