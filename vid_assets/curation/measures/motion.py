"""Group `motion`: optical flow and the path of the camera."""

from __future__ import annotations

import cv2
import numpy as np

from vid_assets.curation.measures.base import Every, Group
from vid_assets.curation.picture import Picture

MOTION_RATE = 2.0
#: Shifts of the camera a second at most (over 30, or times rounded to milliseconds would drop frames), the long side
#: of the pictures that they are measured on, and the least short side that optical flow works on, pixels.
SHIFT_RATE = 31.0
SHIFT_SIDE = 160
SMALLEST_FLOW = 16
#: Cells along the long side in which the change between frames is measured.
CHANGE_CELLS = 20


class Motion(Group):
    """How the picture moves, for every frame in relation to earlier ones; lengths are fractions of its diagonal.

    mean, peak: mean and 99th percentile of the length of the dense optical flow (DIS, Kroeger 2016) since a frame
    half a second earlier; only twice a second on the clock, else None. since: time of that earlier frame, seconds.
    shift_x, shift_y: median of the flow since the frame before, which is what the camera does where most of the
    picture is background; at most about `SHIFT_RATE` times a second. change: largest mean absolute difference of
    luma, 0-255, in any part of about a twentieth of the long side: a repeated frame has next to none, a mouth that
    speaks in an else still picture has. All None for the first frame.
    """

    columns = ("mean", "peak", "since", "shift_x", "shift_y", "change")

    def __init__(self) -> None:
        super().__init__()
        self._sample, self._step = Every(1 / MOTION_RATE), Every(1 / SHIFT_RATE)
        self._before: np.ndarray | None = None
        self._coarse: np.ndarray | None = None
        self._start: tuple[float, np.ndarray] | None = None
        self._path = np.zeros(2)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._quick = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def add(self, picture: Picture) -> None:
        gray = picture.gray
        change = None if self._before is None else _local_change(self._before, gray)
        self._before = gray
        shift = self._shift(gray) if self._step.due(picture.time_s) else (None, None)
        mean = peak = since = None
        if self._sample.due(picture.time_s):
            large = _enlarged(gray)
            if self._start is not None:
                since = self._start[0]
                mean, peak = self._lengths(self._start[1], large)
            self._start, self._path = (picture.time_s, large), np.zeros(2)
        self._append(picture.time_s, mean, peak, since, *shift, change)

    def _shift(self, gray: np.ndarray) -> tuple[float | None, float | None]:
        """Median flow since the last call over the diagonal; adds to the path since the last sample."""
        height, width = gray.shape
        scale = min(1.0, SHIFT_SIDE / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        before, self._coarse = self._coarse, _enlarged(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
        if before is None:
            return None, None
        flow = self._quick.calc(before, self._coarse, None)  # type: ignore[call-overload]
        # The quick flow has one value for 4x4 pixels, enlarged: the median of every fourth says as much
        shift = np.median(flow[2::4, 2::4].reshape(-1, 2), axis=0) / np.hypot(*before.shape)
        self._path += shift
        return round(float(shift[0]), 6), round(float(shift[1]), 6)

    def _lengths(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """Mean and 99th percentile of the flow between two pictures over the diagonal."""
        diagonal = np.hypot(*after.shape)
        # DIS by itself loses what moves by more than a tenth of the picture, so it starts from the camera's path
        start = np.broadcast_to((self._path * diagonal).astype(np.float32), (*after.shape, 2)).copy()
        flow = self._flow.calc(before, after, start)
        length = cv2.magnitude(flow[..., 0], flow[..., 1]) / diagonal
        # The flow of some pixels differs in its last bit from run to run; what is stored must not.
        return round(float(length.mean()), 6), round(float(np.percentile(length, 99)), 6)


def _enlarged(gray: np.ndarray) -> np.ndarray:
    """The picture, enlarged by a whole number where it is too small for optical flow."""
    factor = -(-SMALLEST_FLOW // min(gray.shape))
    return gray if factor <= 1 else cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def _local_change(before: np.ndarray, after: np.ndarray) -> float:
    """Largest mean absolute difference of two pictures in any cell of a grid, 0-255."""
    height, width = after.shape
    cell = max(1, max(height, width) / CHANGE_CELLS)
    size = (max(1, round(width / cell)), max(1, round(height / cell)))
    difference = cv2.absdiff(before, after).astype(np.float32)
    return round(float(cv2.resize(difference, size, interpolation=cv2.INTER_AREA).max()), 3)
