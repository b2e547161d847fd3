"""What editors and faulty equipment do to footage: cuts, fades, freezes, blur, darkness, bars, flicker.

Every function takes and returns iterators of uint8 RGB frames, and changes nothing but what it says, so that labels
(frame numbers counted from 0, first and last included) are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

Frames = Iterable[np.ndarray]


def cut(*shots: Frames) -> Iterator[np.ndarray]:
    """The shots one after the other, with hard cuts between them."""
    for shot in shots:
        yield from shot


def fade(frames: Frames, first: int, last: int, to_black: bool) -> Iterator[np.ndarray]:
    """Fade evenly during the frames `first`..`last`; what lies on the far side of the fade is black."""
    for number, frame in enumerate(frames):
        done = min(max((number - first + 1) / (last - first + 1), 0.0), 1.0)
        yield np.rint(frame * (1 - done if to_black else done)).astype(np.uint8)


def freeze(frames: Frames, first: int, last: int) -> Iterator[np.ndarray]:
    """Hold frame `first` until `last`; then the scene goes on where it stopped, so that nothing jumps."""
    for number, frame in enumerate(frames):
        yield frame
        if number == first:
            for _ in range(last - first):
                yield frame.copy()


def blur(frames: Frames, sigma: float) -> Iterator[np.ndarray]:
    """Out of focus: a Gaussian blur of `sigma` pixels."""
    return (cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames)


def darken(frames: Frames, share: float) -> Iterator[np.ndarray]:
    """Under-exposed: only `share` of the light is left."""
    return (np.rint(frame * share).astype(np.uint8) for frame in frames)


def letterbox(frames: Frames, height: int) -> Iterator[np.ndarray]:
    """Black bars of equal height above and below, up to `height` rows in all."""
    for frame in frames:
        bar = (height - frame.shape[0]) // 2
        yield cv2.copyMakeBorder(frame, bar, height - frame.shape[0] - bar, 0, 0, cv2.BORDER_CONSTANT)


def flicker(frames: Frames, strength: float, period: float) -> Iterator[np.ndarray]:
    """A failing lamp: the brightness swings by `strength` (0-1) over `period` frames."""
    for number, frame in enumerate(frames):
        level = 1 - strength * (0.5 + 0.5 * math.sin(math.tau * number / period))
        yield np.rint(frame * level).astype(np.uint8)


def resize(frames: Frames, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The same picture at a slightly other size (width, height), as a re-encode has it."""
    return (cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames)
