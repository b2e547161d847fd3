"""Placing textures and sprites between pixels."""

import numpy as np
import pytest

from vid_assets.demo import drawing


@pytest.fixture
def texture():
    surface = drawing.noise(np.random.default_rng(0), 200, 120, 20) * 255
    return np.dstack([surface.astype(np.uint8)] * 3)


@pytest.mark.parametrize("place", [(0, 0), (33.3, 20.6), (0.5, 0), (103.9, 39.7), (104, 40)])
def test_a_camera_that_slides_sees_the_same_as_one_that_could_turn(texture, place):
    quick = drawing.window(texture, *place, (96, 80)).astype(int)
    general = drawing.window(texture, *place, (96, 80), zoom=1 + 1e-9).astype(int)
    assert np.abs(quick - general).mean() < 1


def test_a_camera_at_whole_pixels_sees_the_texture_itself(texture):
    assert np.array_equal(drawing.window(texture, 7, 5, (96, 80)), texture[5:85, 7:103])


def test_a_sprite_lies_where_it_is_put_and_is_cut_at_the_edge():
    sprite = np.full((10, 20, 4), 255, np.uint8)
    frame = np.zeros((60, 60, 3), np.uint8)
    drawing.paste(frame, sprite, 30, 40)
    rows, columns = np.nonzero(frame[..., 0] > 128)
    assert (rows.mean(), columns.mean()) == (pytest.approx(39.5, abs=1), pytest.approx(29.5, abs=1))
    before = frame.copy()
    drawing.paste(frame, sprite, -80, 500)
    assert np.array_equal(frame, before)
    drawing.paste(frame, sprite, 0, 0)
    assert frame[0, 0, 0] > 128


def test_a_backdrop_looks_like_its_whole_layer(texture):
    layer = drawing.masked(texture, np.clip(np.arange(120.0)[:, None] - 70, 0, 1).repeat(200, 1))
    ours, whole = np.full((2, 80, 96, 3), 40, np.uint8)
    drawing.Backdrop(layer).draw(ours, 12.4, 8.2)
    drawing.over(whole, drawing.window(layer, 12.4, 8.2, (96, 80)))
    assert np.abs(ours.astype(int) - whole).max() <= 1
    assert (ours[:50] == 40).all() and (ours[70:] != 40).any()
