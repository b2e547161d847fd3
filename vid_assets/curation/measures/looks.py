"""Groups `hashes` and `thumbnails`: what a source looks like, for finding copies and for people."""

from __future__ import annotations

import cv2
import numpy as np

from vid_assets.curation.hashing import halves, perceptual_hash, without_bars
from vid_assets.curation.measures.base import Group
from vid_assets.curation.miniatures import distance
from vid_assets.curation.picture import Picture

THUMBNAIL_STEP_S = 2.0
THUMBNAIL_GAP_S = 0.4
MAX_THUMBNAILS = 256
#: Distance of miniatures from which a thumbnail shows too little of what is there now, and under which nothing happens.
_CHANGED, _SETTLED = 12.0, 4.0
THUMBNAIL_WIDTH = 160


class Hashes(Group):
    """The perceptual hash of every frame, as its two 32-bit halves, and how bright its quarters are.

    high, low: None for a flat picture. box_high, box_low: the same of the part inside letterbox bars; None where
    there are none. top_left .. bottom_right: mean luma of that quarter, 0-255.
    """

    columns = (
        *("high", "low", "box_high", "box_low"),
        *("top_left", "top_right", "bottom_left", "bottom_right"),
    )

    def add(self, picture: Picture) -> None:
        gray = picture.gray
        box = without_bars(gray)
        boxed = None if box is None else perceptual_hash(box)
        self._append(picture.time_s, *halves(perceptual_hash(gray)), *halves(boxed), *_quarters(gray))


def _quarters(gray: np.ndarray) -> tuple[float, ...]:
    """Mean luma of the quarters, row by row; a middle row or column of an odd number belongs to both sides."""
    height, width = ((size + 1) // 2 for size in gray.shape)
    parts = (gray[:height, :width], gray[:height, -width:], gray[-height:, :width], gray[-height:, -width:])
    return tuple(cv2.mean(part)[0] for part in parts)


class Thumbnails(Group):
    """A few small JPEG pictures for each shot; their times are the timestamps.

    One on a grid of the clock, and one where the picture has come to differ much from the last and has settled. A long
    source gets no more of them than `MAX_THUMBNAILS`: whenever these are full, every second one goes, and from then on
    they are taken half as often.
    """

    def __init__(self) -> None:
        super().__init__()
        self._grid, self._gap = THUMBNAIL_STEP_S, THUMBNAIL_GAP_S
        self._shown: np.ndarray | None = None
        self._before: np.ndarray | None = None

    def add(self, picture: Picture) -> None:
        if self._due(picture):
            if len(self.thumbnails) == MAX_THUMBNAILS:
                del self.thumbnails[1::2], self.timestamps[1::2]
                self._grid, self._gap = 2 * self._grid, 2 * self._gap
            self._append(picture.time_s)
            self.thumbnails.append((picture.time_s, _jpeg(picture.rgb)))
            self._shown = picture.miniature
        self._before = picture.miniature

    def _due(self, picture: Picture) -> bool:
        if self._shown is None or self._before is None:
            return True
        since = picture.time_s - self.timestamps[-1] + 1e-6
        settled = distance(picture.miniature, self._before) < _SETTLED
        changed = distance(picture.miniature, self._shown) >= _CHANGED
        return bool(since >= self._grid or (since >= self._gap and changed and settled))


def _jpeg(rgb: np.ndarray) -> bytes:
    height, width = rgb.shape[:2]
    scale = min(1.0, THUMBNAIL_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()
