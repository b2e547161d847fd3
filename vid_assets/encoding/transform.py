"""Bringing decoded frames to the size of a bucket: crop box, cover, centre crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fit_frames(frames: np.ndarray, height: int, width: int, crop: Sequence[int] | None = None) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 as (F, height, width, 3): nothing is stretched, what sticks out is cut evenly.

    `crop` is (x, y, width, height) in pixels of the frames and is cut out first. Shrinking averages areas, so that no
    detail aliases; enlarging is bicubic.
    """
    import cv2

    if crop is not None:
        x, y, w, h = crop
        frames = frames[:, y : y + h, x : x + w]
    source_h, source_w = frames.shape[1:3]
    scale = max(height / source_h, width / source_w)
    size = (max(width, round(source_w * scale)), max(height, round(source_h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    fitted = np.empty((len(frames), height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        resized = cv2.resize(np.ascontiguousarray(frame), size, interpolation=how)
        fitted[index] = resized[top : top + height, left : left + width]
    return fitted
