"""Plots draw what they are given and say what they leave out."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from vid_assets.views import plots

BAD, MAIN, HELD, OTHER = (184, 40, 31), (37, 99, 168), (194, 87, 26), (107, 143, 58)


def _pixels(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG") and len(data) < 100_000
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def _count(pixels: np.ndarray, colour) -> int:
    return int((np.abs(pixels - np.array(colour)).max(axis=2) < 12).sum())


def test_a_loss_that_is_not_finite_is_marked():
    losses = [3 - 0.01 * i for i in range(200)]
    assert _count(_pixels(plots.loss_plot(losses, "run")), BAD) == 0
    losses[50] = math.nan
    assert _count(_pixels(plots.loss_plot(losses, "run")), BAD) > 10


@pytest.mark.parametrize("losses", [[], [1.0], [math.inf], [2.0, 1.0], list(range(1000))])
def test_any_number_of_losses_can_be_plotted(losses):
    assert _pixels(plots.loss_plot(losses)).shape == (320, 720, 3)


def test_losses_need_a_step_each():
    with pytest.raises(ValueError, match="2 steps for 3 losses"):
        plots.loss_plot([1, 2, 3], steps=[10, 20])


def test_a_longer_funnel_is_higher_and_bars_follow_their_numbers():
    full = _count(_pixels(plots.funnel([("files", 10, None), ("clips", 10, None), ("kept", 10, None)])), (37, 99, 168))
    less = _count(_pixels(plots.funnel([("files", 10, None), ("clips", 10, None), ("kept", 0, None)])), (37, 99, 168))
    assert less / full == pytest.approx(2 / 3, abs=0.02)
    assert len(_pixels(plots.funnel([(str(i), i, None) for i in range(9)]))) > len(
        _pixels(plots.funnel([("a", 1, 1.0)]))
    )
    _pixels(plots.funnel([("none", 0, 0.0)]))
    _pixels(plots.funnel([]))


def _histogram(values, limit=None, op=None) -> bytes:
    return plots.histograms([plots.Distribution("", values, "", limit, op)])


def test_a_histogram_shows_rejected_values_in_red_on_the_side_of_the_rule():
    values = [10.0] * 10 + [90.0] * 30
    low = _count(_pixels(_histogram(values, limit=50, op=">=")), BAD)
    high = _count(_pixels(_histogram(values, limit=50, op="<=")), BAD)
    assert high / low == pytest.approx(3, abs=0.2)
    assert _count(_pixels(_histogram(values)), BAD) == 0


def test_unmeasured_values_are_said_not_drawn():
    known = _pixels(_histogram([1.0, 2.0, 3.0] * 5))
    mixed = _pixels(_histogram([1.0, 2.0, 3.0] * 5 + [None, math.nan]))
    blue = (37, 99, 168)
    assert _count(mixed, blue) == pytest.approx(_count(known, blue), rel=0.1)  # the note takes some room
    assert not np.array_equal(known, mixed)
    _pixels(_histogram([None, None]))
    _pixels(_histogram([5.0]))
    _pixels(_histogram([5.0, 5.0], limit=5, op=">="))


def test_a_limit_needs_its_direction():
    with pytest.raises(ValueError, match="belong together"):
        _histogram([1.0], limit=2)


def test_the_losses_of_other_runs_and_of_held_out_samples_are_drawn_beside_the_run():
    losses, heldout = [3 - 0.01 * i for i in range(100)], [(0, 3.1), (100, 2.2)]
    alone = _pixels(plots.loss_plot(losses))
    assert _count(alone, HELD) == _count(alone, OTHER) == 0
    both = _pixels(
        plots.loss_plot(losses, heldout=heldout, others={"two": [(0, 3.1), (100, 2.5)]}, level=("before", 3))
    )
    assert _count(both, HELD) > 100 and _count(both, OTHER) > 50


def test_lines_are_drawn_for_each_name_that_has_points():
    drawn = _pixels(plots.lines_plot({"this": [(0.1, 2.0), (0.9, 1.0)], "other": [(0.1, 2.5), (0.9, 2.4)], "none": []}))
    assert _count(drawn, MAIN) > 100 and _count(drawn, OTHER) > 50
    empty = _pixels(plots.lines_plot({"this": []}))
    assert _count(empty, MAIN) == 0 and len(np.unique(empty)) > 1, "it says that there is nothing"
