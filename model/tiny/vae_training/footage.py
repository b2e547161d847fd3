"""What the tiny VAE is trained and measured on: clips of real files at their own size, and crops of them.

Real footage is read from a folder with `video/` and `images/`. What is held out is said here, by the start of its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Never trained on: what the weights are measured on.
HELD_OUT = (
    "intel_asl_walk",
    "mdn_pig",
    "exo_bear_vp9",
    "exo_london",
    "prairie_falcon",
    "wood_anemones",
    "Landscape_6",
)
#: Neither trained on nor measured on: the person and the room of a held-out file.
LEFT_OUT = ("intel_asl_bird",)

#: Frames of a clip: five latent frames.
FRAMES = 17
_SHORT_SIDE_MAX = 480
_CLIPS_PER_FILE = 12
_TURNS = {"rot90": 3, "hlg_10bit_rot": 1}  # quarter turns anticlockwise that make these files upright


@dataclass(frozen=True)
class Clip:
    """Frames of one file: uint8 RGB (F, H, W, 3), F = 17, or 1 for a still."""

    name: str
    frames: np.ndarray


def read_footage(folder: Path, only: tuple[str, ...] = ("",)) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, at their own size, and held-out clips at 256x256, whose windows cover their whole file.

    `only` names files by the start of their names.
    """
    train: list[Clip] = []
    held_out: list[Clip] = []
    for path in sorted([*(folder / "video").iterdir(), *(folder / "images").iterdir()]):
        if path.name.startswith(LEFT_OUT) or not path.name.startswith(only):
            continue
        is_held_out = path.name.startswith(HELD_OUT)
        still = path.parent.name == "images"
        frames = [_read_still(path)] if still else list(_read_video(path))
        count = 1 if still else FRAMES
        step = count if is_held_out else max(count, len(frames) // _CLIPS_PER_FILE)
        for start in range(0, len(frames) - count + 1, step):
            clip = np.stack(frames[start : start + count])
            (held_out if is_held_out else train).append(Clip(path.name, square(clip, 256) if is_held_out else clip))
    return train, held_out


def square(frames: np.ndarray, size: int) -> np.ndarray:
    """The middle of frames (F, H, W, 3), shrunk or enlarged to (F, size, size, 3)."""
    scaled = np.stack([_scaled(frame, size) for frame in frames])
    top, left = (scaled.shape[1] - size) // 2, (scaled.shape[2] - size) // 2
    return np.ascontiguousarray(scaled[:, top : top + size, left : left + size])


def random_crop(clips: Sequence[Clip], frames: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A piece (frames, size, size, 3) of a random clip, at a random scale, place, speed, direction and turn."""
    import cv2

    whole = clips[int(rng.integers(len(clips)))].frames
    side = min(whole.shape[1:3])
    # As large as a picture whose short side is 192 to 480 pixels shows it, or as large as the file has it
    taken = int(np.clip(round(size * side / rng.uniform(192, max(193, side))), size, side))
    y, x = (int(rng.integers(length - taken + 1)) for length in whole.shape[1:3])
    if len(whole) == 1:
        piece = whole[:, y : y + taken, x : x + taken]
    else:
        speed = int(rng.integers(1, (len(whole) - 1) // max(1, frames - 1) + 1)) if frames > 1 else 1
        start = int(rng.integers(len(whole) - (frames - 1) * speed))
        piece = whole[start : start + (frames - 1) * speed + 1 : speed, y : y + taken, x : x + taken]
        if rng.random() < 0.5:
            piece = piece[::-1]
    if len(piece) != frames:  # a still has no other frames: one that moves would be another picture
        piece = np.repeat(piece, frames, axis=0)
    if taken != size:
        how = cv2.INTER_AREA if taken > size else cv2.INTER_CUBIC
        piece = np.stack([cv2.resize(np.ascontiguousarray(one), (size, size), interpolation=how) for one in piece])
    if rng.random() < 0.5:
        piece = piece[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(piece, int(rng.integers(4)) if rng.random() < 0.3 else 0, axes=(1, 2)))


def _read_still(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image) or image
        return _shrunk(np.asarray(upright.convert("RGB")))


def _read_video(path: Path) -> Iterator[np.ndarray]:
    import av

    turns = next((count for part, count in _TURNS.items() if part in path.name), 0)
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            yield _shrunk(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _shrunk(frame: np.ndarray) -> np.ndarray:
    return _scaled(frame, _SHORT_SIDE_MAX) if min(frame.shape[:2]) > _SHORT_SIDE_MAX else np.ascontiguousarray(frame)


def _scaled(frame: np.ndarray, short_side: int) -> np.ndarray:
    import cv2

    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(frame), size, interpolation=how)
