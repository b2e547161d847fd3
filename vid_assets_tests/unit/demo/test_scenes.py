"""The scenes are what labels and curation limits rely on: deterministic, moving, sharp, well exposed."""

import itertools

import cv2
import numpy as np
import pytest

from vid_assets.demo import catalogue, edits, scenes

NAMES = sorted(scenes.SCENES)

#: Mean colours of a 3x2 grid over each scene after two seconds, as rendered by `catalogue.VERSION` 1.
PINNED_VERSION = 1
PINNED = {
    "aerial": [135, 149, 86, 122, 150, 87, 126, 152, 89, 138, 135, 85, 130, 148, 87, 127, 142, 84],
    "aquarium": [78, 145, 154, 65, 137, 157, 96, 131, 158, 77, 120, 122, 75, 102, 111, 84, 127, 127],
    "balloons": [109, 152, 170, 112, 149, 182, 135, 145, 182, 111, 142, 122, 123, 151, 137, 99, 126, 108],
    "falling_leaves": [104, 102, 80, 113, 114, 86, 108, 103, 78, 120, 111, 81, 115, 116, 88, 101, 97, 74],
    "gears": [79, 117, 82, 73, 111, 77, 95, 117, 60, 83, 105, 66, 69, 114, 74, 79, 117, 60],
    "mountain_pan": [142, 156, 191, 154, 162, 187, 105, 123, 170, 65, 81, 93, 58, 73, 83, 63, 82, 90],
    "moving_shapes": [86, 152, 108, 85, 142, 101, 104, 151, 110, 86, 144, 111, 90, 145, 103, 87, 152, 107],
    "orbits": [91, 39, 103, 116, 66, 113, 129, 54, 139, 62, 28, 76, 77, 41, 83, 121, 50, 131],
    "regatta": [206, 175, 157, 208, 154, 118, 203, 157, 128, 72, 139, 151, 80, 134, 148, 77, 138, 147],
    "road_trip": [154, 182, 200, 122, 162, 186, 136, 169, 186, 102, 119, 97, 86, 125, 83, 82, 100, 75],
}


@pytest.fixture(scope="module")
def half_seconds() -> dict[str, list[np.ndarray]]:
    """Two seconds of every scene at 2 frames a second."""
    return {name: list(scene(1, frames=5, fps=2)) for name, scene in scenes.SCENES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_gives_the_frames_that_were_asked_for(name):
    frames = list(scenes.SCENES[name](3, size=(160, 96), frames=4))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((96, 160, 3), np.uint8)] * 4


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_pixels_and_other_seeds_do_not(name):
    first, again, other = (next(scenes.SCENES[name](seed, size=(160, 96), frames=1)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 3


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_scene_starts_with_the_shorter_one(name):
    short = list(scenes.SCENES[name](3, size=(160, 96), frames=2))
    long = list(itertools.islice(scenes.SCENES[name](3, size=(160, 96), frames=50), 2))
    assert all(np.array_equal(a, b) for a, b in zip(short, long, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_is_sharp_and_well_exposed(name, half_seconds):
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in half_seconds[name]]
    sharpness = np.median([cv2.Laplacian(cv2.resize(one, (480, 360)), cv2.CV_64F).var() for one in gray])
    assert sharpness > 60
    assert all(30 < one.mean() < 170 for one in gray)
    assert max(((one < 3) | (one > 252)).mean() for one in gray) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_moves_moderately(name, half_seconds):
    gray = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (320, 240)) for frame in half_seconds[name]]
    for before, after in itertools.pairwise(gray):
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        assert 0.004 < np.hypot(flow[..., 0], flow[..., 1]).mean() / 400 < 0.05


def test_motion_has_the_same_size_at_every_frame_rate():
    slow = list(scenes.gears(1, size=(160, 96), frames=3, fps=4))
    fast = list(scenes.gears(1, size=(160, 96), frames=5, fps=8))
    assert np.array_equal(slow[2], fast[4])


def test_a_cut_is_where_the_label_says():
    frames = list(edits.cut(scenes.orbits(1, (160, 96), 5), scenes.road_trip(1, (160, 96), 5)))
    change = [np.abs(b.astype(int) - a).mean() for a, b in itertools.pairwise(frames)]
    assert len(frames) == 10
    assert int(np.argmax(change)) + 1 == 5


def test_a_fade_reaches_black_at_its_last_frame_and_leaves_the_rest_alone():
    plain = [np.full((4, 4, 3), 200, np.uint8)] * 10
    out = [int(frame.mean()) for frame in edits.fade(plain, 3, 6, to_black=True)]
    assert out == [200, 200, 200, 150, 100, 50, 0, 0, 0, 0]
    into = [int(frame.mean()) for frame in edits.fade(plain, 3, 6, to_black=False)]
    assert into == [0, 0, 0, 50, 100, 150, 200, 200, 200, 200]


def test_a_freeze_holds_one_frame_and_nothing_jumps_after_it():
    counted = [np.full((2, 2, 3), number, np.uint8) for number in range(6)]
    assert [int(frame[0, 0, 0]) for frame in edits.freeze(counted, 2, 4)] == [0, 1, 2, 2, 2, 3, 4, 5]


def test_a_letterbox_has_equal_black_bars():
    (frame,) = edits.letterbox([np.full((20, 32, 3), 90, np.uint8)], 30)
    assert frame.shape == (30, 32, 3)
    assert not frame[:5].any() and not frame[25:].any() and (frame[5:25] == 90).all()


@pytest.mark.parametrize("name", NAMES)
def test_scenes_change_only_together_with_the_version(name):
    """Otherwise a folder rendered before would be taken for up to date: raise VERSION, then pin the new colours."""
    _, frame = scenes.SCENES[name](1, frames=2, fps=0.5)
    grid = cv2.resize(frame, (3, 2), interpolation=cv2.INTER_AREA).reshape(-1)
    assert catalogue.VERSION == PINNED_VERSION
    assert np.abs(grid.astype(int) - PINNED[name]).max() <= 2
