"""How a stored picture is to be shown: turned upright, not mirrored, with square pixels. Belongs here: that geometry.

A display matrix (ISO/IEC 14496-12, 8.3.2 `tkhd`; the pose of a Matroska projection and the display orientation of H.264
and HEVC come as the same matrix from libav) and an EXIF orientation both become clockwise degrees, then a mirroring.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import av

#: EXIF orientation -> clockwise degrees, and whether the turned picture is then to be mirrored left-right.
EXIF_ORIENTATION = {
    1: (0, False),
    2: (0, True),
    3: (180, False),
    4: (180, True),
    5: (90, True),
    6: (90, False),
    7: (270, True),
    8: (270, False),
}


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Clockwise degrees (0, 90, 180, 270) that show a decoded frame upright, and whether to mirror it left-right then.

    Angles between are rounded to the nearest of the four; a frame without a display matrix is upright as it is.
    """
    for item in cast("Iterable[Any]", frame.side_data):
        if item.type.name == "DISPLAYMATRIX":
            return _of_matrix(struct.unpack("=9i", bytes(item)[:36]))
    return 0, False


def _of_matrix(matrix: tuple[int, ...]) -> tuple[int, bool]:
    """With y downwards, (x, y) is shown at (a x + c y, b x + d y); a negative determinant mirrors."""
    a, b, _, c, d = matrix[:5]
    mirrored = a * d - b * c < 0
    degrees = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(degrees / 90) * 90 % 360, mirrored


def upright(image: np.ndarray, rotation: int, mirrored: bool = False) -> np.ndarray:
    """`image` (H, W, ...) turned clockwise by `rotation` degrees (0, 90, 180 or 270), then mirrored; contiguous."""
    if rotation % 90:
        raise ValueError(f"rotation must be 0, 90, 180 or 270 degrees, got {rotation}")
    turned = np.rot90(image, k=-(rotation // 90) % 4)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def square_size(width: int, height: int, sample_aspect: float | None) -> tuple[int, int]:
    """Width and height with square pixels: the axis whose pixels are longer is enlarged, nothing is shrunk.

    `sample_aspect` is the width of a pixel over its height; None counts as square, as every player takes it.
    """
    aspect = sample_aspect or 1.0
    return max(width, round(width * aspect)), max(height, round(height / aspect))


def displayed(image: np.ndarray, rotation: int, mirrored: bool, width: int, height: int) -> np.ndarray:
    """`image` (H, W, 3) upright, unmirrored and with square pixels, that is in `height` x `width` as displayed."""
    image = upright(image, rotation, mirrored)
    if image.shape[:2] == (height, width):
        return image
    import cv2

    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
