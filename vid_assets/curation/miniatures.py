"""A tiny picture of every frame. Belongs here: its form, how it is stored, and how far apart two of them are.

One step between frames says little of a flash, a dissolve or a wipe: these show in pictures some frames apart. So a
miniature of every frame is stored with the statistics, and shots can be looked for again without decoding anything.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

#: Of a miniature, in pixels; the shape of the source is not kept.
HEIGHT, WIDTH = 9, 16

#: Luma up to which a row or column may belong to a letterbox bar, and the fewest of them that a picture has inside.
_BAR_LUMA = 20
_LEAST_INSIDE = 4


def miniature(rgb: np.ndarray) -> np.ndarray:
    """Luma and the two colour differences (Y, Cr, Cb; 0-255) of a picture: (9, 16, 3) uint8."""
    import cv2

    small = cv2.resize(rgb, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)


def pack(miniatures: list[np.ndarray]) -> bytes:
    """Miniatures in order of time, as bytes: about 150 for each frame of ordinary footage."""
    stack = np.array(miniatures, dtype=np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    # Differences wrap around, and are mostly zero
    return zlib.compress(np.diff(stack, axis=0, prepend=np.zeros_like(stack[:1])).tobytes(), 1)


def unpack(data: bytes) -> np.ndarray:
    """What `pack` was given: (N, 9, 16, 3) uint8; nothing for no bytes."""
    steps = np.frombuffer(zlib.decompress(data) if data else b"", dtype=np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    return np.cumsum(steps, axis=0, dtype=np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of miniatures (..., h, w, 3), 0-255, over the last three axes."""
    return np.abs(np.subtract(a, b, dtype=np.float32)).mean(axis=(-3, -2, -1))


def inside_bars(pictures: np.ndarray) -> np.ndarray:
    """The miniatures (N, h, w, 3) without the rows and columns at the edges that are black in all of them.

    Bars look alike in any two shots; what is left is less, but it is what the shots show. All where too little is left.
    """
    if not len(pictures):
        return pictures
    brightest = pictures[..., 0].max(axis=0)
    rows, columns = (np.flatnonzero(brightest.max(axis=axis) > _BAR_LUMA) for axis in (1, 0))
    if len(rows) < _LEAST_INSIDE or len(columns) < _LEAST_INSIDE:
        return pictures
    return pictures[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def best_alignment(a: np.ndarray, b: np.ndarray) -> float:
    """Largest correlation (-1 to 1) of two miniatures (h, w, 3) shifted against each other by up to a third of their
    height and five eighths of their width.

    High for two views of one scene that a camera moved between, low for different scenes. Each of the three channels
    is taken without its mean.
    """
    height, width = a.shape[:2]
    furthest_y, furthest_x = height // 3, width * 5 // 8
    left = a.astype(np.float64).reshape(-1, 3)
    # All shifts of b at once, zero where it has nothing: (channel, shift, pixel)
    border = ((furthest_y, furthest_y), (furthest_x, furthest_x), (0, 0))
    windows = sliding_window_view(np.pad(b.astype(np.float64), border), (height, width), axis=(0, 1))
    right = windows.transpose(2, 0, 1, 3, 4).reshape(3, -1, height * width)
    both = sliding_window_view(np.pad(np.ones((height, width)), border[:2]), (height, width))
    both = both.reshape(-1, height * width)
    count = both.sum(axis=1)[:, None]
    sums_left, squares_left = both @ left, both @ left**2
    sums_right, squares_right = right.sum(axis=2).T, (right**2).sum(axis=2).T
    shared = (right @ left.T[:, :, None])[..., 0].T - sums_left * sums_right / count
    spread_left = squares_left - sums_left**2 / count
    spread_right = squares_right - sums_right**2 / count
    # The 1 keeps plain pictures, which correlate with nothing, from dividing by zero
    norm = np.sqrt(np.maximum(spread_left.sum(axis=1), 0) * np.maximum(spread_right.sum(axis=1), 0) + 1.0)
    return float((shared.sum(axis=1) / norm).max())
