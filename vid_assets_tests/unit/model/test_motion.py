"""The motion of a video: what moves counts, what only flickers does not."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.motion import motion, motion_ratio

SIDE = 64


def square(x: int, y: int, brightness: float = 1.0) -> np.ndarray:
    frame = np.full((SIDE, SIDE, 3), 60.0)
    frame[y : y + 16, x : x + 16] = (200, 180, 160)
    return frame * brightness


def video(*frames: np.ndarray, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip([frame + rng.normal(0, noise, frame.shape) for frame in frames], 0, 255).astype(np.uint8)


def moving(pixels: int) -> np.ndarray:
    return video(*[square(8 + pixels * index, 16) for index in range(5)])


def test_motion_grows_with_speed_and_is_a_speed_not_a_step() -> None:
    slow, fast = motion(moving(2), 8), motion(moving(4), 8)
    assert slow is not None and fast is not None
    assert 1.6 < fast / slow < 2.4
    # every second frame of the slow video at half the rate is the same movement
    assert motion(moving(2)[::2], 4) == pytest.approx(slow, rel=0.3)
    # A camera that pans moves every pixel: 2 of 64 pixels at 8 frames a second is 4 steps in half a second
    wide = np.kron(np.random.default_rng(0).integers(0, 255, (SIDE // 8, SIDE // 4)), np.ones((8, 8))).astype(np.uint8)
    pan = np.stack([wide[:, 2 * index : 2 * index + SIDE] for index in range(5)])
    assert motion(pan, 8) == pytest.approx(4 * 2 / np.hypot(SIDE, SIDE), rel=0.2)


def test_still_flickering_and_fading_videos_hardly_move() -> None:
    moved = motion(moving(4), 8)
    assert moved is not None
    assert motion(np.repeat(moving(4)[:1], 4, axis=0), 8) == 0.0
    flicker = motion(video(*[square(16, 16)] * 5, noise=8.0), 8)
    fade = motion(video(*[square(16, 16, 1 - 0.1 * index) for index in range(5)]), 8)
    noise = motion(np.random.default_rng(0).integers(0, 255, (5, SIDE, SIDE)).astype(np.uint8), 8)
    for other in (flicker, fade, noise):
        assert other is not None and other < 0.25 * moved


def test_a_still_has_no_motion_to_measure_and_small_frames_are_measured() -> None:
    assert motion(moving(2)[:1], 8) is None
    small = np.zeros((3, 6, 10), np.uint8)
    small[0, 2:5, 1:4] = small[1, 2:5, 2:5] = small[2, 2:5, 3:6] = 255
    tiny = motion(small, 8)
    assert tiny is not None and tiny > 0.01


def test_the_ratio_compares_means_and_says_when_it_cannot() -> None:
    assert motion_ratio([0.1, None, 0.3], [0.4]) == pytest.approx(0.5)
    assert motion_ratio([None], [0.4]) is None
    assert motion_ratio([0.1], [None]) is None
    assert motion_ratio([0.1], [0.0]) is None
