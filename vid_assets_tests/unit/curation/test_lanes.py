"""Measuring in lanes beside the decoder: the same values, in order, and no error lost."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from vid_assets.curation.lanes import Lanes
from vid_assets.curation.measures import MEASURES
from vid_assets.curation.picture import StillPicture
from vid_assets_tests.unit.footage.rendering import pan


def pictures(count: int = 40) -> list[StillPicture]:
    found = []
    for index, image in enumerate(pan(3, count, (160, 120), step=2)):
        picture = StillPicture(image)
        picture.time_s = index / 24
        found.append(picture)
    return found


class Slow:
    """A measure that notes what it gets, takes its time, and fails at a picture if told to."""

    def __init__(self, fail_at: float | None = None) -> None:
        self.seen: list[float] = []
        self.threads: set[int] = set()
        self.fail_at = fail_at

    def add(self, picture) -> None:
        time.sleep(0.001)
        if picture.time_s == self.fail_at:
            raise ValueError("cannot measure this")
        self.seen.append(picture.time_s)
        self.threads.add(threading.get_ident())


def test_lanes_give_what_one_after_the_other_gives():
    names = ("light", "change", "motion", "hashes", "thumbnails")
    beside, alone = {name: MEASURES[name]() for name in names}, {name: MEASURES[name]() for name in names}
    with Lanes(beside) as lanes:
        for picture in pictures():
            lanes.feed(picture, 1000)
    for picture in pictures():
        for measure in alone.values():
            measure.add(picture)
    for name in names:
        assert beside[name].timestamps == alone[name].timestamps
        assert beside[name].stats == alone[name].stats
        assert beside[name].thumbnails == alone[name].thumbnails
    assert beside["change"].miniatures() == alone["change"].miniatures()


def test_every_measure_gets_every_picture_in_order_in_one_thread():
    measures = {"light": Slow(), "change": Slow()}
    with Lanes(measures) as lanes:
        for picture in pictures():
            lanes.feed(picture, 1000)
    times = [picture.time_s for picture in pictures()]
    assert [measure.seen for measure in measures.values()] == [times, times]
    assert [len(measure.threads) for measure in measures.values()] == [1, 1]
    assert measures["light"].threads != measures["change"].threads


@pytest.mark.parametrize("at", [0, 5, 39])
def test_an_error_of_a_measure_is_raised(at):
    with (
        pytest.raises(ValueError, match="cannot measure this"),
        Lanes({"light": Slow(), "change": Slow(at / 24)}) as lanes,
    ):
        for picture in pictures():
            lanes.feed(picture, 1000)


def test_large_frames_do_not_pile_up():
    slow = Slow()
    with Lanes({"light": slow}) as lanes:
        for number, picture in enumerate(pictures(), 1):
            lanes.feed(picture, 1 << 30)
            assert number - len(slow.seen) <= 2


def test_without_measures_no_picture_is_made():
    picture = StillPicture(np.zeros((20, 20, 3), np.uint8))
    with Lanes({}) as lanes:
        lanes.feed(picture, 1000)
    assert "gray" not in vars(picture)
