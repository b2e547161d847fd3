"""What is measured on each frame. Belongs here: one class per group of statistics, fed frame by frame in time order.

Each keeps its own `timestamps` (seconds) and `stats` (name -> one value or None per timestamp). None is not measured.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from vid_assets.curation.groups import Columns
from vid_assets.curation.hashing import halves, perceptual_hash
from vid_assets.curation.picture import Picture

#: A pixel at most this bright is black (10 % of the range, as in ffmpeg's blackdetect); at least this, clipped.
BLACK_PIXEL = 25
CLIPPED_PIXEL = 250
#: A row or column with no pixel brighter than the first may belong to a letterbox bar; one with a pixel brighter
#: than the second does not.
BAR_LUMA = 10
EDGE_LUMA = 40

SHARPNESS_RATE = 4.0
MOTION_RATE = 2.0
THUMBNAIL_STEP_S = 2.0
MAX_THUMBNAILS = 12
THUMBNAIL_WIDTH = 160


class Measure(Protocol):
    """One group of statistics in the making."""

    timestamps: list[float]
    stats: Columns
    thumbnails: list[tuple[float, bytes]]

    def add(self, picture: Picture) -> None:
        """Measure the next frame in presentation order."""


class _Measure:
    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.timestamps: list[float] = []
        self.stats: Columns = {name: [] for name in self.columns}
        self.thumbnails: list[tuple[float, bytes]] = []

    def _append(self, time_s: float, *values: float | None) -> None:
        self.timestamps.append(time_s)
        for name, value in zip(self.columns, values, strict=True):
            self.stats[name].append(value)


class Every:
    """Picks samples of a frame sequence on a regular grid of the clock, starting with the first frame."""

    def __init__(self, step_s: float) -> None:
        self._step = step_s
        self._next: float | None = None

    def due(self, time_s: float) -> bool:
        """Whether the frame at `time_s` is the first at or after the next point of the grid."""
        if self._next is None:
            self._next = time_s
        if time_s < self._next - 1e-6:
            return False
        self._next += self._step * (1 + max(0.0, (time_s - self._next) // self._step))
        return True


class Light(_Measure):
    """Brightness, sharpness, and the box that holds the picture inside letterbox bars.

    luma: mean, 0-255. black, clipped: share of pixels at most `BLACK_PIXEL`, at least `CLIPPED_PIXEL`. sharpness:
    variance of the Laplacian (Pech-Pacheco 2000) at a short side of at most 360 px, sampled 4 times a second.
    left, top, right, bottom: what a letterbox bar on that side could cover, as a fraction of width or height of the
    upright picture: all rows or columns with no pixel over `BAR_LUMA`. left_edge etc.: the same with `EDGE_LUMA`.
    None in a frame that is dark all over.
    """

    columns = (
        *("luma", "black", "clipped", "sharpness"),
        *("left", "right", "left_edge", "right_edge", "top", "bottom", "top_edge", "bottom_edge"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._sample = Every(1 / SHARPNESS_RATE)

    def add(self, picture: Picture) -> None:
        gray = picture.gray
        sharpness = None
        if self._sample.due(picture.time_s):
            sharpness = float(cv2.Laplacian(picture.sharp(), cv2.CV_32F).var())
        black = np.count_nonzero(gray <= BLACK_PIXEL) / gray.size
        clipped = np.count_nonzero(gray >= CLIPPED_PIXEL) / gray.size
        margins = (*_margins(gray.max(axis=0)), *_margins(gray.max(axis=1)))
        self._append(picture.time_s, cv2.mean(gray)[0], black, clipped, sharpness, *margins)


def _margins(profile: np.ndarray) -> tuple[float | None, ...]:
    """Share of a profile before the first and after the last value over `BAR_LUMA`; then over `EDGE_LUMA`."""
    margins: list[float | None] = []
    for limit in (BAR_LUMA, EDGE_LUMA):
        bright = np.flatnonzero(profile > limit)
        if len(bright):
            margins += [int(bright[0]) / len(profile), 1 - (int(bright[-1]) + 1) / len(profile)]
        else:
            margins += [None, None]
    return tuple(margins)


class Change(_Measure):
    """How much each frame differs from the one before; None for the first.

    content: mean absolute difference of hue, saturation and value, averaged over the three, 0-255: `content_val` of
    PySceneDetect's ContentDetector with its default weights. luma_change: mean absolute difference of luma, 0-255.
    """

    columns = ("content", "luma_change")

    def __init__(self) -> None:
        super().__init__()
        self._before: Picture | None = None

    def add(self, picture: Picture) -> None:
        content = luma = None
        if self._before is not None:
            content = cv2.norm(picture.hsv, self._before.hsv, cv2.NORM_L1) / picture.hsv.size
            luma = cv2.norm(picture.gray, self._before.gray, cv2.NORM_L1) / picture.gray.size
        self._append(picture.time_s, content, luma)
        self._before = picture


class Motion(_Measure):
    """Dense optical flow between frames sampled twice a second on the clock (DIS, Kroeger 2016).

    mean, peak: mean and 99th percentile of the flow magnitude over the frame diagonal. since: time of the earlier
    frame of the pair; `timestamps` holds the later one. Pictures under 16 px on a side are too small: None.
    """

    columns = ("mean", "peak", "since")

    def __init__(self) -> None:
        super().__init__()
        self._sample = Every(1 / MOTION_RATE)
        self._before: Picture | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def add(self, picture: Picture) -> None:
        if not self._sample.due(picture.time_s):
            return
        if self._before is not None:
            mean = peak = None
            if min(picture.gray.shape) >= 16:
                flow = self._flow.calc(self._before.gray, picture.gray, None)  # type: ignore[call-overload]
                magnitude = cv2.magnitude(flow[..., 0], flow[..., 1]) / np.hypot(*picture.gray.shape)
                # The flow of some pixels differs in its last bit from run to run; what is stored must not.
                mean, peak = round(float(magnitude.mean()), 6), round(float(np.percentile(magnitude, 99)), 6)
            self._append(picture.time_s, mean, peak, self._before.time_s)
        self._before = picture


class Hashes(_Measure):
    """The perceptual hash of every frame, as its two 32-bit halves: high, low; None for a flat picture."""

    columns = ("high", "low")

    def add(self, picture: Picture) -> None:
        self._append(picture.time_s, *halves(perceptual_hash(picture.gray)))


class Thumbnails(_Measure):
    """A few small JPEG pictures, spread over the whole source; their times are the timestamps."""

    def __init__(self, duration_s: float | None = None) -> None:
        super().__init__()
        self._sample = Every(max(THUMBNAIL_STEP_S, (duration_s or 0.0) / MAX_THUMBNAILS))

    def add(self, picture: Picture) -> None:
        if len(self.thumbnails) >= MAX_THUMBNAILS or not self._sample.due(picture.time_s):
            return
        height, width = picture.rgb.shape[:2]
        scale = min(1.0, THUMBNAIL_WIDTH / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(picture.rgb, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        self._append(picture.time_s)
        self.thumbnails.append((picture.time_s, data.tobytes()))
