"""Small videos with known content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.labelled.footage import FOOTAGE

needs_footage = pytest.mark.skipif(not FOOTAGE.is_dir(), reason=f"no real footage at {FOOTAGE}; set VID_ASSETS_FOOTAGE")


def texture(seed: int, height: int = 240, width: int = 480) -> np.ndarray:
    """A coloured texture with detail of several sizes, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (4, 16, 60):
        coarse = rng.random((cells, cells, 3))
        rows = np.arange(height) * cells // height
        columns = np.arange(width) * cells // width
        image += coarse[rows][:, columns]
    return (image / 3 * 255).astype(np.uint8)


def pan(seed: int, frames: int, size: tuple[int, int] = (320, 240), step: int = 1) -> list[np.ndarray]:
    """A window that moves over a texture by `step` pixels per frame."""
    width, height = size
    picture = texture(seed, height, width + frames * step)
    return [np.ascontiguousarray(picture[:, i * step : i * step + width]) for i in range(frames)]


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: int = 24,
    codec: str = "libx264",
    rotation: int = 0,
    mirrored: bool = False,
    sample_aspect: Fraction | None = None,
    times_ms: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    **options: str,
) -> str:
    """Encode RGB frames; `times_ms` is the time of each.

    The header is to say: turn by `rotation` clockwise degrees, then mirror; `sample_aspect`, width of a pixel over
    its height.
    """
    if codec == "libx264":
        options = {"crf": "18", "g": "12", "threads": "1", **options}
    with av.open(str(path), "w") as container:
        stream = None
        for index, image in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
                if rotation or mirrored:
                    stream.set_display_rotation(-rotation, hflip=mirrored)
                if sample_aspect is not None:
                    stream.codec_context.sample_aspect_ratio = sample_aspect
                if times_ms is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)
