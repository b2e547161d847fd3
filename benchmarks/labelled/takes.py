"""A single shot in the making. Belongs here: fresh footage of either half, what may be done to any of it, and its file.

The two halves share no picture: `tuning` looks through a moving camera at painted textures, `held_out` at the scenes
of the demo footage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.labelled import Split
from benchmarks.labelled.material import Frames, Size, camera, painted
from vid_assets.demo.drawing import strokes
from vid_assets.demo.scenes import SCENES

Stretches = tuple[tuple[int, int], ...]

#: Seconds of each fixture.
LENGTH_S = 3.2

#: (size, frames a second, codec, suffix): a fixture takes them in turn.
FORMATS: dict[Split, tuple[tuple[Size, int, str, str], ...]] = {
    "tuning": (
        ((320, 180), 24, "libx264", "mp4"),
        ((240, 320), 30, "mpeg4", "mkv"),
        ((288, 208), 50, "mpeg2video", "mkv"),
    ),
    "held_out": (
        ((384, 216), 25, "libx264", "mkv"),
        ((320, 240), 30, "libvpx", "webm"),
        ((216, 384), 24, "libx264", "mp4"),
        ((352, 288), 50, "mpeg2video", "mkv"),
    ),
}
#: The held-out scenes whose motion fills the clip. In the others, things come and go before a still background.
_SCENES = ("aerial", "falling_leaves", "gears", "mountain_pan", "regatta", "road_trip")


@dataclass
class Take:
    """One fixture in the making. times_ms: when each frame is shown, None for a constant rate."""

    rng: np.random.Generator
    split: Split
    size: Size
    fps: int
    variant: int
    frames: Frames = field(default_factory=list)
    times_ms: list[int] | None = None
    options: dict[str, str] = field(default_factory=dict)
    cuts: tuple[int, ...] = ()
    defects: dict[str, Stretches] = field(default_factory=dict)
    after: Callable[[Path], None] | None = None

    @property
    def count(self) -> int:
        return len(self.frames)

    def seconds(self, low: float, high: float) -> int:
        """A random number of frames."""
        return max(1, round(self.rng.uniform(low, high) * self.fps))

    def shoot(self, frames: int | None = None, noise: float = 1.0, speed: float | None = None) -> Frames:
        """Fresh footage of a moving camera or scene, with the noise of a sensor."""
        count = frames or round(LENGTH_S * self.fps)
        if self.split == "held_out":
            scene = SCENES[_SCENES[int(self.rng.integers(len(_SCENES)))]]
            made = list(scene(int(self.rng.integers(1 << 31)), self.size, count, self.fps))
        else:
            pace = self.rng.uniform(0.04, 0.1) if speed is None else speed
            made = camera(crisp(self.rng, 2 * self.size[0], 2 * self.size[1]), self.size, *self.way(count, pace))
        return [noisy(self.rng, frame, noise) for frame in made]

    def way(self, count: int, speed: float) -> tuple[list[float], list[float]]:
        """Where a camera is that moves evenly, `speed` widths of the picture a second: x and y in pixels."""
        width, height = self.size
        angle, steps = self.rng.uniform(0, 2 * np.pi), np.arange(count) - count / 2
        step = speed * width / self.fps
        xs, ys = width / 2 + steps * step * np.cos(angle), height / 2 + steps * step * np.sin(angle)
        return xs.tolist(), ys.tolist()

    def middle(self, low: float, high: float) -> tuple[int, int]:
        """First and last frame of a stretch of `low` to `high` seconds, somewhere inside."""
        length = self.seconds(low, high)
        first = int(self.rng.integers(self.fps // 2, self.count - length - self.fps // 2))
        return first, first + length - 1


@cache
def _pool() -> np.ndarray:
    """Noise to cut frames' noise from, which is cheaper than making it for each: larger than any fixture."""
    return np.random.default_rng(1).standard_normal((512, 512, 3), dtype=np.float32)


def noisy(rng: np.random.Generator, frame: np.ndarray, sigma: float) -> np.ndarray:
    """The frame with the noise of a sensor, `sigma` in levels of 255."""
    height, width = frame.shape[:2]
    y, x = rng.integers(0, (512 - height, 512 - width))
    return cv2.add(frame, _pool()[y : y + height, x : x + width] * np.float32(sigma), dtype=cv2.CV_8U)


def crisp(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A painted picture with fine lines, so that it is as sharp as footage in focus."""
    picture = painted(rng, width, height, "tuning").astype(np.float32)
    strokes(rng, picture, 0.004, height / 40, 30.0, 90.0)
    strokes(rng, picture, 0.004, height / 40, 120.0, -90.0)
    return np.clip(picture, 0, 243).astype(np.uint8)


def shaken(take: Take, frames: Frames, amplitude: float, rate: float) -> None:
    """Move the frames about in waves, `rate` a second, of `amplitude` over the diagonal, a little enlarged."""
    size = amplitude * float(np.hypot(*take.size))
    phases = take.rng.uniform(0, 2 * np.pi, 4)
    width, height = take.size
    zoom = 1 + 4 * size / min(take.size)
    for i, frame in enumerate(frames):
        t = 2 * np.pi * rate * i / take.fps
        x, y = (size * (0.7 * np.sin(t + a) + 0.3 * np.sin(1.7 * t + b)) for a, b in (phases[:2], phases[2:]))
        matrix = np.array([[zoom, 0, x + width / 2 * (1 - zoom)], [0, zoom, y + height / 2 * (1 - zoom)]])
        frames[i] = cv2.warpAffine(frame, matrix, take.size, flags=cv2.INTER_CUBIC)


def write(take: Take, path: Path, codec: str) -> None:
    """Encode a take."""
    options = {"libx264": {"crf": "20", "preset": "veryfast"}, "libvpx": {"crf": "10", "b": "2M", "cpu-used": "8"}}
    movflags = {"movflags": take.options["movflags"]} if "movflags" in take.options else {}
    with av.open(str(path), "w", options=movflags if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=Fraction(take.fps))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = *take.size, "yuv420p", 1
        stream.options = options.get(codec, {}) | {k: v for k, v in take.options.items() if k not in movflags}
        if codec not in options:
            stream.bit_rate = 4_000_000
        if take.times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, image in enumerate(take.frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if take.times_ms is not None:
                frame.pts, frame.time_base = take.times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
