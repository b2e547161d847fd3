"""Perceptual hashes of pictures. Belongs here: the 64-bit DCT hash, and its conversions for storage.

The hash holds the signs of the 64 lowest AC coefficients of the DCT of a 32x32 luma picture, lowest first (after
Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", which thresholds at the median
instead). Mirroring a picture flips the sign of exactly the coefficients with an odd horizontal frequency, so the
hash of the mirrored picture is the hash XOR `MIRROR`.
"""

from __future__ import annotations

import numpy as np

from vid_assets.curation.groups import BAR_LUMA, EDGE_LUMA

_SIDE = 32
#: (vertical, horizontal) frequency of each bit, lowest first, without the DC term.
_FREQUENCIES = sorted(((v, u) for v in range(12) for u in range(12) if v + u), key=lambda f: (f[0] + f[1], f))[:64]
_ROWS = np.array([v for v, _ in _FREQUENCIES])
_COLUMNS = np.array([u for _, u in _FREQUENCIES])

#: XOR with this gives the hash of the picture mirrored left to right.
MIRROR = sum(1 << bit for bit, (_, u) in enumerate(_FREQUENCIES) if u % 2)


#: A 32x32 picture whose luma deviates less than this (root mean square) is flat: its signs would be noise.
_FLAT = 1.0

#: Letterbox bars end within so many pixels of the small picture; what is dark for another reason ends softly.
_SOFT_EDGE = 2


def perceptual_hash(gray: np.ndarray) -> int | None:
    """64-bit hash (0 .. 2**64 - 1) of a luma picture (H, W) uint8. Bit i is set where coefficient i is positive.

    None for a flat picture, such as a black frame, which resembles every other flat picture.
    """
    import cv2

    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = cv2.dct(small)
    # The DCT is orthonormal, so the energy outside DC is the variance times the number of pixels
    energy = float(np.vdot(coefficients, coefficients)) - float(coefficients[0, 0]) ** 2
    if energy < (_FLAT * _SIDE) ** 2:
        return None
    signs = coefficients[_ROWS, _COLUMNS] > 0
    return int.from_bytes(np.packbits(signs, bitorder="little").tobytes(), "little")


def without_bars(gray: np.ndarray) -> np.ndarray | None:
    """The part of a luma picture (H, W) uint8 inside letterbox or pillarbox bars; None where there are none."""
    if min(gray[0].max(), gray[-1].max(), gray[:, 0].max(), gray[:, -1].max()) > BAR_LUMA:
        return None  # most frames end here
    rows, columns = _inside(gray.max(axis=1)), _inside(gray.max(axis=0))
    if (rows.start, columns.start, rows.stop, columns.stop) == (0, 0, *gray.shape):
        return None
    # The pixels along the edge are a mixture of bar and picture
    rows = slice(rows.start + (rows.start > 0), rows.stop - (rows.stop < gray.shape[0]))
    columns = slice(columns.start + (columns.start > 0), columns.stop - (columns.stop < gray.shape[1]))
    box = gray[rows, columns]
    return box if min(box.shape) >= 8 else None


def _inside(profile: np.ndarray) -> slice:
    """What lies between the sharply ending bars at both ends of a profile of maxima."""
    dim, bright = np.flatnonzero(profile > BAR_LUMA), np.flatnonzero(profile > EDGE_LUMA)
    if not len(bright):
        return slice(0, len(profile))
    start, stop = int(dim[0]), int(dim[-1]) + 1
    start = start if bright[0] - start <= _SOFT_EDGE else 0
    return slice(start, stop if stop - 1 - bright[-1] <= _SOFT_EDGE else len(profile))


def halves(value: int | None) -> tuple[float | None, float | None]:
    """The hash as two 32-bit halves (high, low), which float64 holds exactly."""
    return (None, None) if value is None else (float(value >> 32), float(value & 0xFFFFFFFF))


def from_halves(high: float, low: float) -> int:
    """The hash as a signed 64-bit integer, as the column type int64 holds it."""
    value = int(high) << 32 | int(low)
    return value - (1 << 64) if value >> 63 else value
