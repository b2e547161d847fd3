"""Fixtures of what is wrong with a single shot, and of what only looks wrong. Belongs here: how each is made.

Every file is one shot, so it is judged whole. Labels are exact: first and last frame that show the defect.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

import av
import cv2
import numpy as np

from benchmarks.labelled import Fixture, Split
from benchmarks.labelled.takes import FORMATS, LENGTH_S, Take, crisp, noisy, shaken, write


def clean(take: Take) -> None:
    """Nothing is wrong, though one or the other measure may be tempted to say so."""
    take.frames = take.shoot()
    trap = _CLEAN[take.variant]
    middle = take.count // 2
    if trap == "flash":
        for frame in range(middle, middle + 2):
            take.frames[frame] = np.clip(take.frames[frame] * 0.5 + 115.0, 0, 255).astype(np.uint8)
    elif trap == "dim":
        take.frames = [(frame * 0.45).astype(np.uint8) for frame in take.frames]
    elif trap == "letterbox":
        bar = take.size[1] // 8 // 2 * 2
        for image in take.frames:
            image[:bar] = image[-bar:] = 0
    elif trap == "handheld":
        shaken(take, take.frames, 0.002, 1.5)
    elif trap == "grainy":
        take.frames = [noisy(take.rng, frame, 6.0) for frame in take.frames]
    elif trap == "speaker":
        _speaker(take)
    elif trap == "uneven":
        steps = take.rng.choice([0.75, 1.0, 1.0, 1.5], take.count) * 1000 / take.fps
        take.times_ms = np.cumsum(steps).round().astype(int).tolist()
    elif trap == "brighter":
        take.frames = [
            np.clip(frame * (0.6 + 0.5 * i / take.count), 0, 255).astype(np.uint8)
            for i, frame in enumerate(take.frames)
        ]
    elif trap == "soft background":
        background = cv2.GaussianBlur(take.frames[0], (0, 0), 6)
        width, height = take.size
        for i, frame in enumerate(take.frames):
            x = int((0.1 + 0.4 * i / take.count) * width)
            image = background.copy()
            image[height // 4 : -height // 4, x : x + width // 3] = frame[height // 4 : -height // 4, : width // 3]
            take.frames[i] = image


_CLEAN = (
    "plain", "flash", "dim", "letterbox", "handheld", "grainy", "speaker", "uneven", "brighter", "soft background",
)  # fmt: skip


def _speaker(take: Take) -> None:
    """A still picture without noise, in which only a small part moves, in every frame."""
    still, height = take.frames[0], take.size[1]
    box = height // 3
    x, y = (take.rng.uniform(0.2, 1.0, 2) * (np.array(take.size) - box)).astype(int).tolist()
    patch = crisp(take.rng, 4 * box, 4 * box)
    for i in range(take.count):
        image = still.copy()
        left, top = (round(box * (1 + 0.15 * wave(5.0 * i / take.fps))) for wave in (np.sin, np.cos))
        image[y : y + box, x : x + box] = patch[top : top + box, left : left + box]
        take.frames[i] = image


def freeze(take: Take) -> None:
    """The picture stands still for a while, and then goes on from there; key frames inside."""
    length = take.seconds(0.6, 0.72)
    frames = take.shoot(round(LENGTH_S * take.fps) - length)
    first = int(take.rng.integers(take.fps // 2, len(frames) - take.fps // 2))
    take.frames = frames[:first] + [frames[first - 1]] * length + frames[first:]
    take.options = {"g": "10"}
    take.defects = {"freeze": ((first, first + length - 1),)}


def cadence(take: Take) -> None:
    """Footage of a lower rate, with frames repeated to reach a higher one."""
    times = (2, 2, 3, 2)[take.variant]
    frames = take.shoot(round(LENGTH_S * take.fps) // times + 1)
    take.frames = [frames[i // times] for i in range(round(LENGTH_S * take.fps))]
    last = take.count - 1 if (take.count - 1) % times else take.count - 2
    take.defects = {"cadence": ((1, last),)}


def gap(take: Take) -> None:
    """A part of the shot is missing, and the frame times show it."""
    frames = take.shoot(take.fps * 4)
    first, missing = take.seconds(0.8, 1.6), take.seconds(0.2, 0.6) + 2
    kept = list(range(first)) + list(range(first + missing, len(frames)))
    take.frames = [frames[i] for i in kept]
    take.times_ms = [round(i * 1000 / take.fps) for i in kept]
    take.defects = {"gap": ((first - 1, first - 1),)}


def flicker(take: Take) -> None:
    """The light goes up and down from frame to frame, for half of the shot or all of it."""
    take.frames = take.shoot()
    first, last = take.middle(1.4, 1.8) if take.variant % 2 else (0, take.count - 1)
    period = (2.0, 3.0, 2.0, 4.0)[take.variant]
    strength = take.rng.uniform(0.07, 0.14)
    for i in range(first, last + 1):
        level = 1 + strength * np.cos(2 * np.pi * ((i - first) / period) + 0.4)
        take.frames[i] = np.clip(take.frames[i] * level, 0, 255).astype(np.uint8)
    # Light turns round between two frames, so neither end of the clip can show a turn
    take.defects = {"flicker": ((max(first, 1), min(last, take.count - 2)),)}


def black(take: Take) -> None:
    """Black frames in the middle, with the noise of the sensor."""
    take.frames = take.shoot()
    first, last = take.middle(0.3, 0.42)
    for i in range(first, last + 1):
        take.frames[i] = noisy(take.rng, np.zeros_like(take.frames[i]), 3.0)
    take.defects = {"black": ((first, last),)}


def clipped(take: Take) -> None:
    """Over-exposed for a while: all that was bright is white."""
    take.frames = take.shoot()
    first, last = take.middle(0.3, 1.2)
    for i in range(first, last + 1):
        level = np.percentile(take.frames[i].max(axis=2), 40)
        take.frames[i] = np.clip(take.frames[i] * (262 / level), 0, 255).astype(np.uint8)
        take.frames[i][take.frames[i].max(axis=2) >= 255] = 255
    take.defects = {"clipped": ((first, last),)}


def blur(take: Take) -> None:
    """Out of focus, by a ladder of blurs, in pixels."""
    take.frames = take.shoot(noise=0.0)
    sigma = {"tuning": (0.4, 1.6, 2.5, 4.0), "held_out": (0.5, 1.8, 2.2, 3.5)}[take.split][take.variant]
    take.frames = [noisy(take.rng, cv2.GaussianBlur(frame, (0, 0), sigma), 0.5) for frame in take.frames]
    if take.variant:
        take.defects = {"blur": ((0, take.count - 1),)}


def bars(take: Take) -> None:
    """Bars on two sides or on all four that leave less than 60 % of the picture, or just more."""
    keep = {"tuning": (0.5, 0.66, 0.45, 0.7), "held_out": (0.54, 0.65, 0.4, 0.75)}[take.split][take.variant]
    take.frames = take.shoot()
    width, height = take.size
    both, upright = take.variant >= 2, take.variant % 2 == 0
    x = 0 if upright and not both else int(width * (1 - (keep**0.5 if both else keep)) / 2)
    y = 0 if not upright and not both else int(height * (1 - (keep**0.5 if both else keep)) / 2)
    for i, frame in enumerate(take.frames):
        image = np.zeros_like(frame)
        image[y : height - y, x : width - x] = frame[y : height - y, x : width - x]
        take.frames[i] = image
    if keep < 0.6:
        take.defects = {"bars": ((0, take.count - 1),)}


def still(take: Take) -> None:
    """Nothing moves; only the noise of the sensor does."""
    frame = take.shoot(1, noise=0.0)[0]
    take.frames = [noisy(take.rng, frame, 2.0) for _ in range(round(LENGTH_S * take.fps))]
    take.defects = {"still": ((0, take.count - 1),)}


def shake(take: Take) -> None:
    """The camera trembles."""
    take.frames = take.shoot()
    amplitude, rate = take.rng.uniform(0.012, 0.03), take.rng.uniform(3.5, 7.0)
    shaken(take, take.frames, amplitude, rate)
    take.defects = {"shake": ((0, take.count - 1),)}


def dark(take: Take) -> None:
    """Under-exposed all the time."""
    take.frames = [(frame * take.rng.uniform(0.06, 0.09)).astype(np.uint8) for frame in take.shoot(noise=0.0)]
    take.frames = [noisy(take.rng, frame, 1.5) for frame in take.frames]
    take.defects = {"dark": ((0, take.count - 1),)}


def cut(take: Take) -> None:
    """Another shot begins."""
    first = take.seconds(1.2, 1.8)
    take.frames = take.shoot(first) + take.shoot(round(LENGTH_S * take.fps) - first)
    take.cuts, take.defects = (first,), {"cut": ((first, first),)}


def damage(take: Take) -> None:
    """A block of the file reads as zeros, with data of three frames; all up to the next key frame refer to them."""
    take.frames = take.shoot()
    take.options = {"g": "12", "bf": "0", "sc_threshold": "0"}
    first = int(take.rng.integers(take.fps, take.count - take.fps)) // 12 * 12 + (1, 4, 2, 6)[take.variant]
    take.defects = {"damage": ((first, first // 12 * 12 + 11),)}

    def flip(path: Path) -> None:
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        start = data.index(packets[first]) + len(packets[first]) // 4
        end = data.index(packets[first + 2]) + len(packets[first + 2]) // 2
        data[start:end] = bytes(end - start)
        path.write_bytes(data)

    take.after = flip


def truncation(take: Take) -> None:
    """The end of the file is missing; its header is not."""
    take.frames = take.shoot()
    share = take.rng.uniform(0.5, 0.8)
    take.options = {"movflags": "faststart"}
    take.defects = {"truncation": ()}
    take.after = lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


#: Class of fixtures -> how one is made, and the number of its variants in each half.
MAKERS: dict[str, tuple[Callable[[Take], None], int]] = {
    "clean": (clean, len(_CLEAN)),
    **{maker.__name__: (maker, 4) for maker in (freeze, cadence, gap, flicker, black, clipped, blur, bars, still)},
    **{maker.__name__: (maker, 4) for maker in (shake, dark, cut, damage, truncation)},
}
#: Codecs that keep what the class needs: times of their own, or a structure that its labels rely on.
_ONLY: dict[str, tuple[str, str]] = {"gap": ("libx264", "mp4"), "damage": ("libx264", "mp4")}


def render(folder: Path, split: Split | None = None) -> list[Fixture]:
    """All fixtures, or those of one half; files that are in `folder` already are not written again."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = get_args(Split) if split is None else (split,)
    return [
        _render(folder, kind, cast(Split, half), variant)
        for half in halves
        for kind, (_, variants) in MAKERS.items()
        for variant in range(variants)
    ]


def _render(folder: Path, kind: str, split: Split, variant: int) -> Fixture:
    maker, _ = MAKERS[kind]
    size, fps, codec, suffix = FORMATS[split][variant % len(FORMATS[split])]
    codec, suffix = _ONLY.get(kind, (codec, suffix))
    name = f"{kind}-{split}-{variant}"
    take = Take(np.random.default_rng(zlib.crc32(f"{name} 2".encode())), split, size, fps, variant)
    maker(take)
    if take.times_ms is not None:
        codec, suffix = "libx264", "mp4"
    path = folder / f"{name}.{suffix}"
    if not path.exists():
        part = path.with_suffix(f".part.{suffix}")
        write(take, part, codec)
        if take.after:
            take.after(part)
        part.rename(path)
    return Fixture(name, path, kind, split, fps, take.count, take.cuts, (), take.defects)
