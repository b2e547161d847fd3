"""Letterbox bars of a clip: what they leave of the picture. Belongs here: finding them in the margins of its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vid_assets.curation.groups import LONG_SIDE
from vid_assets.curation.source_arrays import SourceArrays


@dataclass(frozen=True)
class Letterbox:
    """What bars leave of a picture.

    crop: (x, y, width, height) in displayed pixels, rounded inwards to even ones; None without bars.
    kept: share of the area that it keeps; None where every frame is black all over.
    """

    crop: tuple[int, int, int, int] | None = None
    kept: float | None = 1.0


def find_letterbox(source: SourceArrays, frames: slice) -> Letterbox:
    """The bars that all `frames` of a source have."""
    if not np.isfinite(source.column("light", "left")[frames]).any():
        return Letterbox(None, None)
    width, height = source.video["width"], source.video["height"]
    x, right = (_bar(source, side, frames, width, height) for side in ("left", "right"))
    y, bottom = (_bar(source, side, frames, width, height) for side in ("top", "bottom"))
    w, h = width - x - right, height - y - bottom
    if (w, h) == (width, height):
        return Letterbox()
    return Letterbox((x, y, w, h), w * h / (width * height))


def _bar(source: SourceArrays, side: str, frames: slice, width: int, height: int) -> int:
    """Pixels of the bar on one side of the clip, rounded up to even; 0 where there is none.

    A bar ends sharply: within a pixel of the small picture, all is black on one side while some frame has something
    bright on the other. The margin of a dark scene does not, so it is not taken for one.
    """
    black, bright = (source.column("light", name)[frames] for name in (side, f"{side}_edge"))
    if not np.isfinite(bright).any():
        return 0
    length = width if side in ("left", "right") else height
    pixel = max(width, height, LONG_SIDE) / LONG_SIDE
    end = np.nanmin(bright) * length
    if np.nanmin(black) <= 0 or end - np.nanmin(black) * length > 1.5 * pixel:
        return 0
    # The last small pixel is a mixture of bar and picture
    return 2 * int(np.ceil((end + (pixel if pixel > 1 else 0)) / 2 - 1e-6))
