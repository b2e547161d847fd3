"""Tracks: what is shown when, by the clock; and that the tables give back what was stored."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vid_assets.curation.groups import GroupStats
from vid_assets.curation.hashing import from_halves, halves
from vid_assets.curation.tracks import HASH_RATE, from_columns, sample

STEP = 1 / HASH_RATE


def group(times: list[float], hashes: list[int | None], boxed: list[int | None] | None = None) -> GroupStats:
    """Frame number i has the given hash, and quarters i, 10 i, 100 i, 1000 i."""
    stats: dict[str, list[float | None]] = {}
    for box, values in (("", hashes), ("box_", boxed or [None] * len(hashes))):
        stats[f"{box}high"], stats[f"{box}low"] = (list(part) for part in zip(*map(halves, values), strict=True))
    for power, name in enumerate(("top_left", "top_right", "bottom_left", "bottom_right")):
        stats[name] = [float(10**power * number) for number in range(len(times))]
    return GroupStats("hashes", "2", times, stats)


def test_a_sample_is_the_picture_that_is_shown_then_whatever_the_frame_rate():
    """Frame 1 is shown for a long time, frames 2 to 4 follow within one stretch."""
    times = [5.0, 5.0 + STEP, 5.0 + 4 * STEP, 5.0 + 4.2 * STEP, 5.0 + 4.4 * STEP]
    hashes, quarters = sample(group(times, [10, 11, 12, 13, 14]), slice(0, 5), 5.0, 5.0 + 5 * STEP)
    assert hashes == [10, 11, 11, 11, 14]
    assert quarters[::4] == [0, 1, 1, 1, 3]  # the last is the mean of frames 2, 3 and 4
    assert quarters[3::4] == [1000 * value for value in quarters[::4]]


def test_samples_of_a_clip_within_a_file_are_its_own():
    times = [number * STEP for number in range(20)]
    hashes, quarters = sample(group(times, list(range(20))), slice(8, 12), 8 * STEP, 12 * STEP)
    assert hashes == [8, 9, 10, 11] and quarters[::4] == [8, 9, 10, 11]


def test_a_still_and_a_very_short_clip_have_one_sample():
    assert sample(group([0.0], [7]), slice(0, 1), 0.0, 0.0) == ([7], [0, 0, 0, 0])
    assert sample(group([0.0, 0.04], [7, 8]), slice(0, 2), 0.0, 0.08)[0] == [8]


def test_flat_pictures_have_none_and_bars_are_left_out_where_nearly_all_frames_have_them():
    times = [number * STEP for number in range(4)]
    plain, inside = [1, None, 3, 4], [5, None, 7, 8]
    assert sample(group(times, plain), slice(0, 4), 0.0, 4 * STEP)[0] == plain
    assert sample(group(times, plain, inside), slice(0, 4), 0.0, 4 * STEP)[0] == inside
    assert sample(group(times, plain, [None, None, None, 8]), slice(0, 4), 0.0, 4 * STEP)[0] == plain


def test_the_tables_give_the_tracks_back():
    stored = [[1, None, from_halves(0xFFFFFFFF, 3)], None, [4, 5], [6]]
    light = [[float(number) for number in range(12)], None, None, [1.0, 2.0, 3.0, 4.0]]
    hashes = pa.chunked_array([pa.array(stored[:2], pa.list_(pa.int64())), pa.array(stored[2:], pa.list_(pa.int64()))])
    quarters = pa.chunked_array([pa.array(light, pa.list_(pa.float32()))])
    first, none, older, last = from_columns(hashes, quarters)
    assert first.known.tolist() == [True, False, True]
    assert int(first.hashes[0]) == 1 and int(first.hashes[2]) == 0xFFFFFFFF00000003
    assert np.array_equal(first.quarters, np.arange(12).reshape(3, 4))
    assert len(none) == len(older) == 0
    assert last.hashes.tolist() == [6] and last.quarters.tolist() == [[1, 2, 3, 4]]
