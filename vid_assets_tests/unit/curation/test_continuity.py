"""Events of a clip, from statistics that are written down by hand; real decoding is in the labelled fixtures."""

from __future__ import annotations

import numpy as np
import pytest

from vid_assets.curation.clip_arrays import ClipArrays
from vid_assets.curation.continuity import EVENTS, find_events
from vid_assets.curation.groups import GROUPS, GroupStats
from vid_assets.curation.letterbox import Letterbox
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.curation.transitions import Boundary

FPS = 25


def source(frames: int = 100, times=None, **columns) -> SourceArrays:
    """A source of ordinary moving footage, but for the given columns."""
    ordinary = {
        "proof": {"corrupt": 0.0, "bytes": 5000.0},
        "light": {"luma": 100.0, "black": 0.0, "clipped": 0.0},
        "change": {"content": 3.0, "luma_change": 3.0},
        "motion": {"mean": None, "peak": None, "since": None, "shift_x": 0.002, "shift_y": 0.0, "change": 12.0},
    }
    stamps = list(times) if times is not None else [frame / FPS for frame in range(frames)]
    groups = {}
    for group, names in ordinary.items():
        stats = {name: list(columns.get(name, [value] * len(stamps))) for name, value in names.items()}
        groups[group] = GroupStats(group, GROUPS[group], stamps, stats)
    made = SourceArrays({"width": 640, "height": 360}, groups)
    # What finds cuts and transitions has tests of its own
    made.__dict__["cuts"] = np.asarray(columns.get("cuts", np.zeros(len(stamps))))
    made.__dict__["transitions"] = []
    return made


def with_(value, frames, count: int = 100, other=0.0) -> list[float]:
    """A column that is `value` at `frames`, else `other`."""
    column = [other] * count
    for frame in frames:
        column[frame] = value
    return column


def clip(made: SourceArrays, start: int = 0, stop: int | None = None, kept: float = 1.0) -> ClipArrays:
    """The frames from `start` up to `stop`; bars leave the share `kept` of the picture."""
    times = {"kind": "video", "start_s": made.edges[start], "end_s": made.edges[stop if stop is not None else -1]}
    return ClipArrays(made, times, Letterbox(None, kept))


def found(made: SourceArrays, start: int = 0, stop: int | None = None) -> list[tuple[str, float, float]]:
    return [
        (event.kind, round(event.start_s * FPS, 6), round(event.end_s * FPS, 6))
        for event in find_events(clip(made, start, stop))
    ]


def test_ordinary_footage_has_no_events():
    assert found(source()) == []


def test_events_last_from_the_first_frame_that_shows_them_until_the_first_that_does_not():
    made = source(black=with_(1.0, range(10, 14)), clipped=with_(0.3, [40]), corrupt=with_(1.0, range(98, 100)))
    assert found(made) == [("black", 10, 14), ("clipped", 40, 41), ("corrupt", 98, pytest.approx(100))]
    values = {event.kind: event.value for event in find_events(clip(made))}
    assert values == {"black": 1.0, "clipped": pytest.approx(0.3), "corrupt": 2.0} and values.keys() <= EVENTS.keys()


def test_a_cut_has_no_length_and_none_lies_at_the_start_of_a_clip():
    made = source(cuts=with_(1.5, [20, 60]))
    assert found(made, 20) == [("cut", 60, 60)]


def frozen(frames) -> dict[str, list[float]]:
    return {"luma_change": with_(0.01, frames, other=3.0), "change": with_(0.2, frames, other=12.0)}


def test_a_freeze_survives_the_key_frame_inside_it():
    columns = frozen(range(30, 50))
    columns["luma_change"][40], columns["change"][40] = 1.8, 2.6
    assert found(source(**columns)) == [("freeze", 30, 50)]


def test_every_second_frame_repeated_is_one_event_and_a_single_repeat_is_one_too():
    assert found(source(**frozen(range(1, 100, 2)))) == [("freeze", 1, 100)]
    assert found(source(**frozen([50]))) == [("freeze", 50, 51)]


def test_what_moves_slowly_or_only_in_one_place_does_not_repeat():
    slow = {"luma_change": [0.4] * 100, "change": with_(2.0, [50], other=2.8)}
    assert found(source(**slow)) == []
    speaker = {"luma_change": [0.1] * 100, "change": [9.0] * 100}
    assert found(source(**speaker)) == []


def test_a_gap_lies_between_two_frames():
    times = [frame / FPS + (0.4 if frame >= 50 else 0) for frame in range(100)]
    assert found(source(times=times)) == [("gap", pytest.approx(49), pytest.approx(60))]


@pytest.mark.parametrize("period", [2, 3, 4])
def test_flicker_but_neither_a_flash_nor_a_fade(period):
    luma = [100 + (8 * np.cos(2 * np.pi * frame / period + 0.4) if 20 <= frame < 70 else 0) for frame in range(100)]
    ((kind, start, end),) = found(source(luma=luma))
    assert (kind, start, end) == ("flicker", pytest.approx(20, abs=1), pytest.approx(70, abs=1))
    assert found(source(luma=with_(180.0, [50, 51], other=100.0))) == []
    assert found(source(luma=[100 + frame for frame in range(100)])) == []


def pairs(mean, peak) -> dict[str, list[float | None]]:
    """Flow of the pairs that end at frames 12, 24, ..., as a function of the number of the pair."""
    columns: dict[str, list[float | None]] = {"mean": [None] * 100, "peak": [None] * 100, "since": [None] * 100}
    for number, frame in enumerate(range(12, 100, 12)):
        columns["mean"][frame], columns["peak"][frame] = mean(number), peak(number)
        columns["since"][frame] = (frame - 12) / FPS
    return columns


def test_still_stretches_reach_to_the_ends_of_the_clip():
    columns = pairs(lambda n: 0.0001 if n >= 4 else 0.02, lambda n: 0.0002 if n >= 4 else 0.05)
    noise = {"change": [1.0] * 100, "luma_change": [0.8] * 100}
    assert found(source(**columns, **noise)) == [("still", 48, pytest.approx(100))]
    # A small part that moves to and fro is back after half a second, yet it moves
    speaker = {"change": [9.0] * 100, "luma_change": [0.8] * 100}
    assert found(source(**columns, **speaker)) == []


def test_shake_but_neither_a_pan_nor_a_whip_pan():
    shaking = [0.03 * np.sin(2 * np.pi * 5 * frame / FPS) for frame in range(100)]
    ((kind, start, end),) = found(source(shift_x=shaking))
    assert (kind, start, end) == ("shake", 0, pytest.approx(100))
    assert found(source(shift_x=[0.01 + 0.0002 * frame for frame in range(100)])) == []
    assert found(source(shift_x=with_(0.1, range(50, 56)))) == []
    # A cut moves the picture as well, but not the camera
    assert found(source(shift_x=with_(0.3, [50]), cuts=with_(1.5, [50]))) == [("cut", 50, 50)]


def test_bars_count_as_nothing():
    made = source(clipped=with_(0.09, range(40, 50)))
    assert find_events(clip(made)) == []
    (event,) = find_events(clip(made, kept=0.6))
    assert event.kind == "clipped" and event.value == pytest.approx(0.15)


def test_a_transition_that_reaches_into_the_clip_ends_with_it():
    made = source()
    made.__dict__["transitions"] = [Boundary(5, 9, "fade"), Boundary(18, 30, "dissolve"), Boundary(70, 80, "wipe")]
    assert found(made, 20, 75) == [("transition", 20, 30), ("transition", 70, 75)]
