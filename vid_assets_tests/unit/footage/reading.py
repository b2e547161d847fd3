"""Frames of a file by the moments at which they are shown, as tests ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vid_assets.footage.decode import Route, frames_on_screen, stream_frames
from vid_assets.footage.reader import DecodeError, VideoReader


def frame_times(path: str, stream_index: int) -> list[float]:
    """Presentation times in seconds of all frames that decode, ascending."""
    return sorted(frame.time for frame in VideoReader(path, stream_index).av_frames() if frame.time is not None)


def read_frames(
    path: str,
    video: Mapping[str, Any],
    moments_s: Sequence[float],
    route: Route,
    timestamps: Sequence[float] | None = None,
) -> np.ndarray:
    """The frames on screen at `moments_s`: (N, H, W, 3) uint8 RGB, in their order; the first error is raised."""
    times = np.asarray(frame_times(path, video["stream_index"]) if timestamps is None else timestamps, dtype=np.float64)
    wanted = frames_on_screen(times, moments_s)
    assert wanted.min() >= 0, "nothing is on screen yet"
    numbers, inverse = np.unique(wanted, return_inverse=True)
    images = []
    for _, found in stream_frames(path, video, numbers.tolist(), times, route):
        if isinstance(found, DecodeError):
            raise found
        images.append(found)
    return np.stack(images)[inverse]
