"""Shots to edit fixtures from. Belongs here: moving pictures for either half, and writing them to files.

The two halves share no picture: they see different scenes of the demo footage, and differently painted textures
through a moving camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.labelled import Split
from vid_assets.demo.drawing import blend, finish, hsv, noise
from vid_assets.demo.scenes import SCENES

Frames = list[np.ndarray]
Size = tuple[int, int]

#: A factor on the motion of the painted shots, in widths of the picture a second.
_SPEED = 0.12


def painted(rng: np.random.Generator, width: int, height: int, split: Split) -> np.ndarray:
    """A textured picture (height, width, 3) uint8 with a palette of its own: no two look alike."""
    hue, dark, bright = rng.random(), rng.uniform(0.1, 0.35), rng.uniform(0.6, 0.95)
    amount = noise(rng, width, height, height * rng.uniform(0.4, 1.0), 5)
    picture = blend(amount, hsv(hue, rng.uniform(0.3, 0.9), dark), hsv(hue + rng.uniform(0.05, 0.5), 0.5, bright))
    for _ in range(int(rng.integers(4, 12))):
        corner = rng.integers(0, (width, height))
        side = (rng.uniform(0.05, 0.35, 2) * height).astype(int) + 2
        colour = hsv(rng.random(), rng.random(), rng.uniform(0.1, 1.0))
        if split == "tuning":
            cv2.rectangle(picture, corner.tolist(), (corner + side).tolist(), colour, -1, cv2.LINE_AA)
        else:
            angle = rng.uniform(0, 360)
            cv2.ellipse(picture, corner.tolist(), side.tolist(), angle, 0, 360, colour, int(rng.choice((-1, 3))))
    return finish(rng, picture)


def camera(picture: np.ndarray, size: Size, xs: Sequence[float], ys: Sequence[float], blur: int = 1) -> Frames:
    """Frames of `size` whose left upper corner moves through `xs`, `ys` (pixels); `blur` positions for each frame.

    With `blur` over 1 a frame is the mean of positions between its own and the next one's, as an open shutter sees.
    """
    width, height = size
    frames = []
    for i in range(len(xs)):
        after = min(i + 1, len(xs) - 1)
        total = np.zeros((height, width, 3), np.float32)
        for part in np.arange(blur) / blur:
            x, y = (float(v[i] + (v[after] - v[i]) * part) for v in (xs, ys))
            center = (x + (width - 1) / 2, y + (height - 1) / 2)
            total += cv2.getRectSubPix(picture, size, center)
        frames.append((total / blur).round().astype(np.uint8))
    return frames


def shot(rng: np.random.Generator, split: Split, size: Size, frames: int, fps: float, number: int) -> Frames:
    """Shot `number` of a video: `frames` frames (height, width, 3) uint8 with ordinary motion.

    Every second one is painted, so that no shot is followed by another of the same scene.
    """
    if number % 2:
        scenes = sorted(SCENES)[split == "held_out" :: 2]
        return list(SCENES[scenes[int(rng.integers(len(scenes)))]](int(rng.integers(1 << 31)), size, frames, fps))
    width, height = size
    picture = painted(rng, 2 * width, 2 * height, split)
    speed = rng.uniform(0, _SPEED) * width / fps
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.arange(frames) - frames / 2
    xs = np.clip(width / 2 + steps * speed * np.cos(angle), 0, width)
    ys = np.clip(height / 2 + steps * speed * np.sin(angle), 0, height)
    result = camera(picture, size, xs.tolist(), ys.tolist())
    thing = painted(rng, width // 4, height // 3, split)
    x, y, step = (*rng.uniform(0, 0.6, 2).tolist(), rng.uniform(-0.25, 0.25) * width / fps)
    for i, frame in enumerate(result):
        left = int(np.clip(x * width + i * step, 0, width - thing.shape[1]))
        top = int(y * height)
        frame[top : top + thing.shape[0], left : left + thing.shape[1]] = thing
    return [noisy(rng, frame) for frame in result]


def noisy(rng: np.random.Generator, frame: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """The frame with the noise of a sensor, `sigma` in levels of 255."""
    noise_ = rng.standard_normal(frame.shape, dtype=np.float32) * sigma
    return np.clip(frame + noise_, 0, 255).astype(np.uint8)


def write(path: Path, frames: Sequence[np.ndarray], fps: float, codec: str, **options: str) -> Path:
    """Encode RGB frames with one thread, so that a fixture is the same on every machine."""
    defaults = {"libx264": {"crf": "21"}, "libvpx-vp9": {"crf": "32", "b": "0", "cpu-used": "6"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {**defaults.get(codec, {"q:v": "4"}), **options}
        if codec in ("mpeg4", "mpeg2video"):
            stream.bit_rate = 3_000_000
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path
