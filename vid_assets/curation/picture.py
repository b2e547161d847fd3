"""One frame as the statistics see it. Belongs here: the small pictures that all measures share, each made once.

Frames are shrunk by area averaging straight from the decoder's own pixel format; a full-size RGB picture of a video
frame is never made.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vid_assets.curation.groups import LONG_SIDE
from vid_assets.curation.miniatures import miniature
from vid_assets.footage.geometry import square_size, upright

if TYPE_CHECKING:
    import av

#: Short side of the picture on which sharpness is measured. Smaller sources keep their size.
SHARP_SIDE = 360


class Picture:
    """Small upright pictures of one frame, made when first asked for."""

    time_s: float
    rgb: np.ndarray

    @cached_property
    def gray(self) -> np.ndarray:
        """Luma (BT.601 weights, full range), (h, w) uint8."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)

    @cached_property
    def hsv(self) -> np.ndarray:
        """Hue 0-179, saturation and value 0-255, (h, w, 3) uint8."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2HSV)

    @cached_property
    def miniature(self) -> np.ndarray:
        """See `curation.miniatures`: (9, 16, 3) uint8."""
        return miniature(self.rgb)

    def prepare(self) -> None:
        """Make the pictures that several measures share, so that these may read them from several threads."""
        _ = self.gray, self.miniature

    def sharp(self) -> np.ndarray:
        """Luma at a short side of at most `SHARP_SIDE`; not turned upright, as sharpness does not depend on it."""
        raise NotImplementedError


class VideoPicture(Picture):
    """Pictures of a frame that libav decoded."""

    def __init__(self, frame: av.VideoFrame, time_s: float, scaler: Scaler) -> None:
        self.time_s = time_s
        self._frame = frame
        self._scaler = scaler

    @cached_property
    def rgb(self) -> np.ndarray:  # type: ignore[override]
        """(h, w, 3) uint8, upright, long side at most `LONG_SIDE`."""
        return self._scaler.rgb(self._frame)

    def sharp(self) -> np.ndarray:
        return self._scaler.sharp(self._frame)


class StillPicture(Picture):
    """Pictures of a still that is already in memory, upright."""

    def __init__(self, image: np.ndarray) -> None:
        self.time_s = 0.0
        self._image = image
        height, width = image.shape[:2]
        self.rgb = cv2.resize(
            image, shrunk(width, height, LONG_SIDE / max(width, height)), interpolation=cv2.INTER_AREA
        )

    def sharp(self) -> np.ndarray:
        height, width = self._image.shape[:2]
        gray = cv2.cvtColor(self._image, cv2.COLOR_RGB2GRAY)
        return cv2.resize(gray, shrunk(width, height, SHARP_SIDE / min(width, height)), interpolation=cv2.INTER_AREA)


class Scaler:
    """Shrinks the frames of one video, to the size of the first should their size change in between.

    Small pictures are upright and have square pixels; those for sharpness have square pixels.
    """

    def __init__(self, rotation: int, mirrored: bool = False, sample_aspect: float | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self._rotation, self._mirrored, self._aspect = rotation, mirrored, sample_aspect
        self._shrink, self._convert, self._gray = VideoReformatter(), VideoReformatter(), VideoReformatter()
        self._size: tuple[int, int] | None = None

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        if self._size is None:
            size = square_size(frame.width, frame.height, self._aspect)
            self._size = shrunk(*size, LONG_SIDE / max(size))
        # Two steps, as libswscale shrinks planes of YUV several times faster than it shrinks RGB
        planar = not frame.format.is_rgb and len(frame.format.components) > 1
        if planar:
            frame = self._shrink.reformat(frame, *self._size, format="yuv444p", interpolation="AREA", threads=1)
        small = self._convert.reformat(frame, *self._size, format="rgb24", interpolation="AREA", threads=1)
        return upright(small.to_ndarray(), self._rotation, self._mirrored)

    def sharp(self, frame: av.VideoFrame) -> np.ndarray:
        square = square_size(frame.width, frame.height, self._aspect)
        size = shrunk(*square, SHARP_SIDE / min(square))
        return self._gray.reformat(frame, *size, format="gray", interpolation="AREA", threads=1).to_ndarray()


def shrunk(width: int, height: int, scale: float) -> tuple[int, int]:
    """`width` and `height` times `scale`, at least 1; unchanged where that would enlarge."""
    scale = min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))
