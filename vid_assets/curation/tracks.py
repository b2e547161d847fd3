"""What a clip looks like over time, a few times a second, and whether one clip shows all of another.

A track holds what `HASH_RATE` pictures a second look like (perceptual hash) and how bright their quarters are. One
track covers another where, moved in time, the pictures agree *and* the light of the quarters rises and falls alike.
The second is what tells a copy from another take of the same scene: a still camera gives equal hashes for hours, and
only what moves in front of it differs. So a clip in which nothing moves has no near duplicates, as nothing would
prove them; its exact copies have equal packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vid_assets.curation.groups import GroupStats
from vid_assets.curation.hashing import MIRROR, from_halves

if TYPE_CHECKING:
    import pyarrow as pa

#: Samples a second. At twice the distance, a fast pan is no longer recognised between two samples.
HASH_RATE = 8.0

_QUARTERS = ("top_left", "top_right", "bottom_left", "bottom_right")
_MIRRORED_QUARTERS = [1, 0, 3, 2]
#: The light of two recordings is alike where it correlates at least so much, its swing differs at most by that factor,
#: and what one does not explain of the other is at most coding noise (root mean square luma, 0-255) and that share of
#: its variance. Of 567 stretches of real footage and their copies (re-encoded, shrunk, graded, boxed) 561 are alike, of
#: 135 pairs of stretches of one still camera that look alike 6.
_CORRELATION, _SWING, _CODING_NOISE, _UNEXPLAINED = 0.7, 2.0, 0.5, 0.19
#: Root mean square deviation of the quarters' luma, 0-255, below which nothing but noise moves.
_STILL = 0.25
#: Shortest track that says anything: half a second.
_FEWEST = 4
#: Share of a clip that may lie outside the one that covers it, as detected boundaries differ by a few frames.
_OVERHANG = 0.1
#: Share of the samples that must be within the limit: where the picture changes fast, a sample between two others
#: resembles neither. But nearly all must be within the limit and so many bits more: a few that show something else
#: altogether are no noise.
_AGREEING = 0.67
_NEARLY_ALL, _MORE_BITS = 0.95, 10


@dataclass(frozen=True)
class Track:
    """`hashes` (n,) uint64, `known` (n,) bool: False where the picture is flat; `quarters` (n, 4) float32, 0-255."""

    hashes: np.ndarray
    known: np.ndarray
    quarters: np.ndarray

    def __len__(self) -> int:
        return self.hashes.size

    @property
    def overhang(self) -> int:
        """Samples of this track that may lie outside one that covers it."""
        return max(1, round(_OVERHANG * len(self)))

    def mirrored(self) -> Track:
        """The track of the clip mirrored left to right."""
        return Track(self.hashes ^ np.uint64(MIRROR), self.known, self.quarters[:, _MIRRORED_QUARTERS])


class Samples:
    """The samples of many tracks, none of them empty, in arrays: what is asked of all tracks at once."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.hashes = np.concatenate([track.hashes for track in tracks])
        self.counts = np.array([len(track) for track in tracks])
        self.starts = np.cumsum(self.counts) - self.counts
        #: The track of each sample.
        self.track = np.repeat(np.arange(len(tracks), dtype=np.int32), self.counts)
        self.known = np.concatenate([track.known for track in tracks])
        self._changed = (self.hashes[1:] != self.hashes[:-1]) | (self.known[1:] != self.known[:-1])
        self._changed |= self.track[1:] != self.track[:-1]
        self._tracks = tracks

    def telling(self) -> np.ndarray:
        """Which tracks can prove a copy, (tracks,) bool: something moves in them, and enough of them has a hash."""
        variance = np.zeros(len(self.counts))
        for quarter in range(len(_QUARTERS)):
            light = np.concatenate([track.quarters[:, quarter] for track in self._tracks])
            mean = np.add.reduceat(light, self.starts, dtype=np.float64) / self.counts
            light = light - mean.astype(np.float32)[self.track]
            variance += np.add.reduceat(light * light, self.starts, dtype=np.float64) / self.counts
        known = np.add.reduceat(self.known, self.starts, dtype=np.int64)
        return (self.counts >= _FEWEST) & (2 * known >= self.counts) & (variance >= len(_QUARTERS) * _STILL**2)

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last sample of each run of equal hashes within a track, flat pictures left out."""
        first, last = np.flatnonzero(np.r_[True, self._changed]), np.flatnonzero(np.r_[self._changed, True])
        return first[self.known[first]], last[self.known[first]]

    def steadiest(self, parts: int) -> np.ndarray:
        """For each of `parts` stretches of each track, the sample that differs least from those beside it.

        Stretches in which every picture is flat have none. Tracks have at least `parts` samples.
        """
        step = np.where(self.track[1:] == self.track[:-1], np.bitwise_count(self.hashes[1:] ^ self.hashes[:-1]), 64)
        unrest = np.r_[step, 64].astype(np.int64) + np.r_[64, step]
        unrest[~self.known] = 1000
        bounds = self.starts[:, None] + self.counts[:, None] * np.arange(parts) // parts
        least = np.minimum.reduceat(unrest << 32 | np.arange(len(unrest)), bounds.ravel())
        found = least & 0xFFFFFFFF
        return found[self.known[found]]


def sample(group: GroupStats, frames: slice, start_s: float, end_s: float) -> tuple[list[int | None], list[float]]:
    """Hashes (n signed 64-bit integers, None for a flat picture) and quarters (4 n, sample after sample) of a clip.

    Sample k is the picture shown (k + 1/2) / `HASH_RATE` seconds after `start_s`; its quarters are averaged over the
    frames of its stretch of time. A still, and a clip shorter than one stretch, has one. Where nearly all frames have
    letterbox bars, the hashes are those of the part inside; the light of the quarters is only scaled by bars.
    """
    times = np.asarray(group.timestamps[frames])
    count = max(1, int((end_s - start_s) * HASH_RATE + 1e-6))
    starts = start_s + np.arange(count + 1) / HASH_RATE
    shown = np.maximum(np.searchsorted(times, starts[:-1] + 0.5 / HASH_RATE + 1e-6) - 1, 0)
    whole, inside = ([group.stats[box + half][frames] for half in ("high", "low")] for box in ("", "box_"))
    bars = len(inside[0]) - inside[0].count(None)
    high, low = inside if bars > _NEARLY_ALL * (len(whole[0]) - whole[0].count(None)) else whole
    hashes = [_hash(high[frame], low[frame]) for frame in shown.tolist()]
    light = np.array([group.stats[name][frames] for name in _QUARTERS], dtype=np.float64)
    total = np.concatenate([np.zeros((4, 1)), np.cumsum(light, axis=1)], axis=1)
    first = np.minimum(np.searchsorted(times, starts[:-1] - 1e-6), shown)
    last = np.maximum(np.searchsorted(times, starts[1:] - 1e-6), shown + 1)
    means = (total[:, last] - total[:, first]) / (last - first)
    return hashes, means.T.ravel().tolist()


def _hash(high: float | None, low: float | None) -> int | None:
    return None if high is None or low is None else from_halves(high, low)


def from_columns(hashes: pa.ChunkedArray, quarters: pa.ChunkedArray) -> list[Track]:
    """The tracks of many clips, from these columns of `clip_scores`: views of a few large arrays, not copies.

    A track is empty where a clip has no hashes, or is older than the quarters.
    """
    import pyarrow.compute as pc

    flat = hashes.combine_chunks().flatten()
    known = np.asarray(flat.is_valid())
    values = np.asarray(flat.fill_null(0)).view(np.uint64)
    light = np.asarray(quarters.combine_chunks().flatten(), dtype=np.float32).reshape(-1, len(_QUARTERS))
    counts, measured = (np.asarray(pc.fill_null(pc.list_value_length(column), 0)) for column in (hashes, quarters))
    ends, light_ends = np.cumsum(counts), np.cumsum(measured // len(_QUARTERS))
    tracks = []
    for count, end, lit, light_end in zip(counts.tolist(), ends.tolist(), measured.tolist(), light_ends.tolist()):
        here = slice(end - count, end if len(_QUARTERS) * count == lit else end - count)
        tracks.append(Track(values[here], known[here], light[light_end - (here.stop - here.start) : light_end]))
    return tracks


def pictured(one: Track, other: Track) -> int:
    """The distance of two stills, bits."""
    return int(np.bitwise_count(one.hashes[0] ^ other.hashes[0]))


def covered(small: Track, large: Track, offsets: np.ndarray, limit: int) -> int | None:
    """Whether `large` shows all of `small`, beginning at one of `offsets` (samples): the distance in bits, else None.

    The distance is the least of all offsets at which it is within `limit` and the light rises and falls alike.
    """
    # First what is quick to tell of all places, and what other takes of the same scene fail
    _, bits = distances(small, large, offsets[alike(small, large, offsets)])
    return int(bits.min()) if (bits <= limit).any() else None


def distances(small: Track, large: Track, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of `offsets` at which `small` lies within `large`, and the distance at each, in bits, 0-64.

    The distance is that which two thirds of the samples keep. A sample is compared with the three around its
    place, as the two tracks need not be sampled at the same moments; where only one picture is flat, it is 64.
    """
    count, room = len(small), len(large)
    offsets = offsets[(offsets >= -small.overhang) & (offsets + count <= room + small.overhang)]
    place = offsets[:, None] + np.arange(count)
    compared = (place >= 0) & (place < room) & small.known
    bits = np.full(place.shape, 64, dtype=np.uint8)
    for shift in (-1, 0, 1):
        near = np.clip(place + shift, 0, room - 1)
        there = np.bitwise_count(large.hashes[near] ^ small.hashes)
        bits = np.minimum(bits, np.where(large.known[near], there, 64))
    number = compared.sum(axis=1)
    enough = 2 * number >= count
    # What is not compared comes last
    ordered = np.sort(np.where(compared, bits, 255)[enough], axis=1)
    rows = np.arange(len(ordered))
    most, nearly_all = (
        ordered[rows, np.ceil(share * number[enough]).astype(int) - 1].astype(int) for share in (_AGREEING, _NEARLY_ALL)
    )
    return offsets[enough], np.maximum(most, nearly_all - _MORE_BITS)


def alike(small: Track, large: Track, offsets: np.ndarray) -> np.ndarray:
    """Whether the light of the quarters rises and falls alike where `small` lies `offsets` samples into `large`."""
    count, room = len(small), len(large)
    offsets = np.asarray(offsets)
    start, stop = np.maximum(0, -offsets), np.clip(room - offsets, 0, count)
    inside = np.maximum(stop - start, 1)
    one, other = (track.quarters - track.quarters.mean(axis=0, dtype=np.float64) for track in (small, large))
    # Sums over what lies inside, for all offsets at once: of the values, of their squares, of their products
    places = np.clip(np.stack([[start, stop], [start + offsets, stop + offsets]]), 0, [[[count]], [[room]]])
    sums, squares = [], []
    for light, (first, last) in zip((one, other), places, strict=True):
        total, square = (np.concatenate([np.zeros((1, 4)), np.cumsum(part, axis=0)]) for part in (light, light * light))
        sums.append(total[last] - total[first])
        squares.append((square[last] - square[first]).sum(axis=1))
    padded = np.pad(other, ((count - 1, count - 1), (0, 0)))
    product = np.sum([np.correlate(padded[:, k], one[:, k], "valid") for k in range(len(_QUARTERS))], axis=0)
    products = product[np.clip(offsets, 1 - count, room - 1) + count - 1]
    size = len(_QUARTERS) * inside
    swings = [
        (square - (total * total).sum(axis=1) / inside) / size for square, total in zip(squares, sums, strict=True)
    ]
    low, high = np.minimum(*swings), np.maximum(*swings)
    covariance = (products - (sums[0] * sums[1]).sum(axis=1) / inside) / size
    correlation = covariance / np.sqrt(np.maximum(low * high, 1e-12))
    moves = (stop > start) & (low >= _STILL**2) & (high <= _SWING**2 * low) & (correlation >= _CORRELATION)
    return moves & ((1 - correlation**2) * high <= _CODING_NOISE**2 + _UNEXPLAINED * high)
