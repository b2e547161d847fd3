"""Group `change`: how much each frame differs from the one before, and a miniature of each frame."""

from __future__ import annotations

import cv2
import numpy as np

from vid_assets.curation.measures.base import Group
from vid_assets.curation.miniatures import pack
from vid_assets.curation.picture import Picture

#: Size of the picture that the residual of motion is measured on, and where each of its pixels lies.
_COARSE_WIDTH, _COARSE_HEIGHT = 96, 54
_PLACES = np.stack(np.meshgrid(np.arange(96, dtype=np.float32), np.arange(54, dtype=np.float32)), axis=-1)


class Change(Group):
    """How much each frame differs from the one before (None for the first), and a miniature of each frame.

    content: mean absolute difference of hue, saturation and value, averaged over the three, 0-255: `content_val` of
    PySceneDetect's ContentDetector with its default weights. luma_change: mean absolute difference of luma, 0-255.
    coarse_change: the same of a picture of 96x54. residual: what is left of coarse_change once the optical flow
    between the two frames is undone: little where things or the camera move, all of it where the picture is another.
    detail_x, detail_y: mean absolute difference of neighbours in the rows and in the columns of that picture, 0-255,
    of the first frame as well: a camera that moves fast blurs one and not the other.
    """

    columns = ("content", "luma_change", "coarse_change", "residual", "detail_x", "detail_y")

    def __init__(self) -> None:
        super().__init__()
        self._before: tuple[Picture, np.ndarray] | None = None
        self._small: list[np.ndarray] = []
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        # Fixed: left to itself, OpenCV chooses the scale by the size of the first picture that it meets
        self._flow.setFinestScale(2)

    def add(self, picture: Picture) -> None:
        values: tuple[float | None, ...] = (None,) * 4
        coarse = cv2.resize(picture.gray, (_COARSE_WIDTH, _COARSE_HEIGHT), interpolation=cv2.INTER_AREA)
        if self._before is not None:
            before, coarse_before = self._before
            values = (
                cv2.norm(picture.hsv, before.hsv, cv2.NORM_L1) / picture.hsv.size,
                cv2.norm(picture.gray, before.gray, cv2.NORM_L1) / picture.gray.size,
                cv2.norm(coarse, coarse_before, cv2.NORM_L1) / coarse.size,
                self._residual(coarse_before, coarse),
            )
        self._append(picture.time_s, *values, *_detail(coarse))
        self._small.append(picture.miniature)
        self._before = picture, coarse

    def _residual(self, before: np.ndarray, now: np.ndarray) -> float:
        places = self._flow.calc(before, now, None) + _PLACES  # type: ignore[call-overload]
        moved_back = cv2.remap(now, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        # The flow of some pixels differs in its last bit from run to run; what is stored must not.
        return round(cv2.norm(moved_back, before, cv2.NORM_L1) / now.size, 2)

    def miniatures(self) -> bytes:
        return pack(self._small)


def _detail(coarse: np.ndarray) -> tuple[float, float]:
    along_x = cv2.absdiff(coarse[:, 1:], coarse[:, :-1])
    along_y = cv2.absdiff(coarse[1:], coarse[:-1])
    return round(cv2.mean(along_x)[0], 3), round(cv2.mean(along_y)[0], 3)
