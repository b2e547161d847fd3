"""Group `light`: brightness, black and clipped pixels, sharpness, letterbox margins."""

from __future__ import annotations

import cv2
import numpy as np

from vid_assets.curation.groups import BAR_LUMA, EDGE_LUMA
from vid_assets.curation.measures.base import Every, Group
from vid_assets.curation.picture import Picture

#: A pixel at most this bright is black (10 % of the range, as in ffmpeg's blackdetect); at least this, clipped.
BLACK_PIXEL = 25
CLIPPED_PIXEL = 250
SHARPNESS_RATE = 4.0
#: Parts of the picture, along each side, whose sharpness is measured, and the percentile of them that counts.
SHARPNESS_PARTS = 6
SHARPNESS_PERCENTILE = 90
#: Pixels at the edge of the picture that sharpness leaves out.
_EDGE = 2


class Light(Group):
    """Brightness, sharpness, and the box that holds the picture inside letterbox bars.

    luma: mean, 0-255. black, clipped: share of pixels at most `BLACK_PIXEL`, at least `CLIPPED_PIXEL`. sharpness:
    variance of the Laplacian (Pech-Pacheco 2000) at a short side of at most 360 px, the 90th percentile over the
    parts of the picture inside the bars, sampled 4 times a second: a sharp subject counts, a plain or blurred
    background does not count against it.
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
            sharpness = _sharpness(picture.sharp())
        black = np.count_nonzero(gray <= BLACK_PIXEL) / gray.size
        clipped = np.count_nonzero(gray >= CLIPPED_PIXEL) / gray.size
        margins = (*_margins(gray.max(axis=0)), *_margins(gray.max(axis=1)))
        self._append(picture.time_s, cv2.mean(gray)[0], black, clipped, sharpness, *margins)


def _sharpness(gray: np.ndarray) -> float:
    """The 90th percentile, over parts of the picture inside dark margins, of the variance of the Laplacian."""
    rows, columns = (np.flatnonzero(gray.max(axis=axis) > EDGE_LUMA) for axis in (1, 0))
    if len(rows) and len(columns):
        # A bar's edge is sharp however blurred the picture is
        inside = gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        gray = inside[_EDGE:-_EDGE, _EDGE:-_EDGE] if min(inside.shape) > 4 * _EDGE else inside
    laplacian = cv2.Laplacian(gray, cv2.CV_32F)
    parts = [
        cv2.meanStdDev(part)[1].item() ** 2
        for band in np.array_split(laplacian, min(SHARPNESS_PARTS, gray.shape[0]))
        for part in np.array_split(band, min(SHARPNESS_PARTS, gray.shape[1]), axis=1)
    ]
    return float(np.percentile(parts, SHARPNESS_PERCENTILE))


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
