"""Fixtures of shot boundaries, and of what looks like one. Belongs here: how they are edited, and their labels."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

import av
import cv2
import numpy as np

from benchmarks.labelled import Fixture, Split
from benchmarks.labelled.material import Frames, Size, camera, noisy, painted, shot, write

#: (size, frames per second, codec, suffix) of the variants of each half.
_FORMATS: dict[Split, tuple[tuple[Size, float, str, str], ...]] = {
    "tuning": (
        ((192, 108), 24, "libx264", "mp4"),
        ((160, 120), 30, "mpeg4", "avi"),
        ((256, 144), 25, "libx264", "mkv"),
        ((136, 240), 60, "libx264", "mp4"),
    ),
    "held_out": (
        ((224, 126), 25, "libx264", "mp4"),
        ((176, 144), 30, "libvpx-vp9", "webm"),
        ((120, 208), 24, "mpeg2video", "mkv"),
        ((240, 136), 50, "libx264", "mp4"),
    ),
}


class Edit:
    """A video in the making, from shots of one half in one format, with its labels."""

    def __init__(self, split: Split, size: Size, fps: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.split, self.size, self.fps = split, size, fps
        self.shots = int(self.rng.integers(2))
        self.frames: Frames = []
        self.cuts: list[int] = []
        self.transitions: list[tuple[int, int]] = []

    def seconds(self, low: float, high: float) -> int:
        """A random number of frames."""
        return max(1, round(self.rng.uniform(low, high) * self.fps))

    def shot(self, frames: int) -> Frames:
        """A shot unlike the one before."""
        self.shots += 1
        return shot(self.rng, self.split, self.size, frames, self.fps, self.shots)

    def cut(self, frames: Frames) -> None:
        """A hard cut to `frames`."""
        if self.frames:
            self.cuts.append(len(self.frames))
        self.frames += frames

    def blend(self, frames: Frames, share: Callable[[float], np.ndarray | float], length: int) -> None:
        """A transition of `length` frames: `share(t)` of `frames`, a number or mask, at t in 0-1."""
        start = len(self.frames) - length
        for i in range(length):
            amount = share((i + 1) / (length + 1))
            mixed = self.frames[start + i] * (1.0 - amount) + frames[i] * amount
            self.frames[start + i] = mixed.round().astype(np.uint8)
        self.frames += frames[length:]
        self.transitions.append((start, start + length - 1))

    def fade(self, frames: Frames, out: int, hold: int, into: int, level: int) -> None:
        """To a plain picture of `level` in `out` frames, `hold` frames of it, and from it in `into` frames."""
        start = len(self.frames) - out
        for i in range(out):
            self.frames[start + i] = _towards(self.frames[start + i], level, (i + 1) / out)
        self.frames += [np.full_like(frames[0], level)] * hold
        for i in range(into):
            frames[i] = _towards(frames[i], level, 1 - i / into)
        self.frames += frames
        self.transitions.append((start, start + out + hold + into - 1))


def _towards(frame: np.ndarray, level: int, share: float) -> np.ndarray:
    return (frame + (float(level) - frame) * share).round().astype(np.uint8)


def _hard_cut(edit: Edit) -> None:
    for _ in range(7):
        edit.cut(edit.shot(edit.seconds(0.7, 1.3)))


def _short_shots(edit: Edit) -> None:
    edit.cut(edit.shot(edit.seconds(0.8, 1.0)))
    for length in (8, 4, 12, 6, 16, 3):
        edit.cut(edit.shot(length))
    edit.cut(edit.shot(edit.seconds(0.8, 1.0)))


def _fade(edit: Edit) -> None:
    edit.cut(edit.shot(edit.seconds(1.2, 1.5)))
    for level in (0, 255, 0, 0, 255):
        frames = edit.shot(edit.seconds(2.0, 2.3))
        edit.fade(frames, edit.seconds(0.25, 0.8), edit.seconds(0.05, 0.5), edit.seconds(0.25, 0.8), level)
    edit.cut(edit.shot(edit.seconds(0.8, 1.2)))


def _dissolve(edit: Edit) -> None:
    edit.cut(edit.shot(edit.seconds(1.5, 1.8)))
    for longest in (0.3, 0.6, 1.0, 1.3, 0.5):
        length = edit.seconds(longest * 0.7, longest)
        edit.blend(edit.shot(length + edit.seconds(1.6, 1.9)), lambda t: t, length)
    edit.cut(edit.shot(edit.seconds(0.8, 1.2)))


def _wipe(edit: Edit) -> None:
    width, height = edit.size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    # Each picture is 0 where the wipe comes first and 1 where it comes last
    orders = [x, 1 - y, (x + y) / 2, np.hypot(x - 0.5, y - 0.5) / 0.71, np.abs(x - 0.5) * 2]
    edit.cut(edit.shot(edit.seconds(1.2, 1.5)))
    for order in orders:
        length = edit.seconds(0.4, 1.0)
        edge = order[..., None] * 1.05
        edit.blend(
            edit.shot(length + edit.seconds(1.2, 1.5)),
            lambda t, edge=edge: np.clip((t * 1.1 - edge) / 0.05, 0, 1),
            length,
        )
    edit.cut(edit.shot(edit.seconds(0.8, 1.2)))


def _flash(edit: Edit) -> None:
    """Photographers' flashes: one to four frames overexposed at once, dying away."""
    for _ in range(3):
        frames = edit.shot(edit.seconds(2.0, 2.4))
        at = int(0.5 * edit.fps)
        while at < len(frames) - 0.4 * edit.fps:
            strength = edit.rng.uniform(0.6, 1.0)
            for i in range(int(edit.rng.integers(1, 5))):
                share = strength * 0.6**i
                lit = frames[at + i] * (1 + share) + 190.0 * share
                frames[at + i] = np.clip(lit, 0, 255).astype(np.uint8)
            at += edit.seconds(0.5, 0.9)
        edit.cut(frames)


def _whip_pan(edit: Edit) -> None:
    """The camera rests, swings to another view in a few blurred frames, and rests there: one shot.

    Most swings are as quick as a hand can do, two to four frames at 24 frames a second, with a shutter open for half
    of each; they begin with a frame or in the middle of one.
    """
    width, height = edit.size
    for number in range(3):
        if edit.rng.random() < 0.5:
            wide = painted(edit.rng, 6 * width, height + 8, edit.split)
        else:
            wide = np.concatenate([cv2.resize(edit.shot(1)[0], (width, height + 8)) for _ in range(6)], axis=1)
            wide = cv2.GaussianBlur(wide, (0, 0), 1.0)
        # The shutter is open all the time in the first, slower shot
        shortest, longest, ticks = (0.15, 0.45, 1) if number == 0 else (0.08, 0.17, 2)
        places, rest = [], 0.0
        for swing in (1.0, 1.6, 1.2):
            still = ticks * edit.seconds(0.5, 0.8) + int(edit.rng.integers(ticks))
            quick = ticks * max(2, edit.seconds(shortest, longest))
            eased = (1 - np.cos(np.pi * np.linspace(0, 1, quick + (number == 0) + 1)[1:])) / 2
            places += [rest + 0.3 * i / ticks for i in range(still)]
            rest = places[-1]
            places += (rest + eased * swing * width).tolist()
            rest = places[-1]
        places += [rest + 0.3 * i / ticks for i in range(ticks * edit.seconds(0.5, 0.7))]
        xs = np.array(places)
        if number % 2:
            xs = wide.shape[1] - width - 1 - xs
        frames = camera(wide, edit.size, xs.tolist(), [4.0] * len(xs), blur=6 if number == 0 else 15)[::ticks]
        edit.cut([noisy(edit.rng, frame, 1.5) for frame in frames])


def _stroboscope(edit: Edit) -> None:
    """A scene lit by a stroboscope: a few frames dark, one or two lit, for a second or more."""
    for _ in range(3):
        frames = edit.shot(edit.seconds(2.2, 2.6))
        first, last = edit.seconds(0.4, 0.6), len(frames) - edit.seconds(0.4, 0.6)
        dark, lit = int(edit.rng.integers(1, 4)), int(edit.rng.integers(1, 3))
        for i in range(first, last):
            if (i - first) % (dark + lit) < dark:
                frames[i] = (frames[i] * 0.15).astype(np.uint8)
        edit.cut(frames)


def _fast_motion(edit: Edit) -> None:
    """Hand-held jolts, and something large that crosses close to the lens."""
    width, height = edit.size
    for number in range(3):
        count = edit.seconds(2.2, 2.6)
        if number == 1:
            frames = edit.shot(count)
            near = cv2.GaussianBlur(painted(edit.rng, round(width * 0.6), height, edit.split), (0, 0), 2.0)
            quick, start = edit.seconds(0.25, 0.45), int(0.8 * edit.fps)
            for i in range(quick):
                left = round((i + 1) / (quick + 1) * (width + near.shape[1])) - near.shape[1]
                a, b = max(0, left), min(width, left + near.shape[1])
                if a < b:
                    frames[start + i][:, a:b] = near[:, a - left : b - left]
            edit.cut(frames)
            continue
        picture = cv2.resize(edit.shot(1)[0], (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
        walk = np.cumsum(edit.rng.normal(0, width * 0.012, (2, count)), axis=1)
        jolts = np.zeros((2, count))
        for at in edit.rng.choice(np.arange(10, count - 10), 3, replace=False):
            jolts[:, at:] += edit.rng.choice((-1, 1), 2)[:, None] * np.array([[0.12 * width], [0.06 * height]])
        xs = np.clip(width / 2 + walk[0] + jolts[0], 0, width - 1)
        ys = np.clip(height / 2 + walk[1] + jolts[1], 0, height - 1)
        frames = camera(picture, edit.size, xs.tolist(), ys.tolist(), blur=3)
        edit.cut([noisy(edit.rng, frame, 1.5) for frame in frames])


def _smear(edit: Edit) -> None:
    """What a decoder shows after losing data, baked into the footage: blocks stay behind until the next key frame."""
    for _ in range(3):
        frames = edit.shot(edit.seconds(2.2, 2.6))
        start, length = edit.seconds(0.6, 0.8), edit.seconds(0.4, 0.8)
        frozen = frames[start - 1].copy()
        stuck = np.zeros(frozen.shape[:2], bool)
        for i in range(start, min(len(frames), start + length)):
            for _ in range(6):
                top, left = (int(edit.rng.integers(0, side, endpoint=False)) // 16 * 16 for side in frozen.shape[:2])
                stuck[top : top + 16, left : left + 64] = True
            frozen = np.roll(frozen, int(edit.rng.integers(-3, 4)), axis=1)
            frames[i][stuck] = frozen[stuck]
        edit.cut(frames)


KINDS: dict[str, Callable[[Edit], None]] = {
    "hard cut": _hard_cut,
    "short shots": _short_shots,
    "fade": _fade,
    "dissolve": _dissolve,
    "wipe": _wipe,
    "flash": _flash,
    "whip pan": _whip_pan,
    "stroboscope": _stroboscope,
    "fast motion": _fast_motion,
    "decoder smear": _smear,
    "bit damage": _hard_cut,
}


def render(
    folder: Path, kinds: Sequence[str] = tuple(KINDS), splits: Sequence[Split] = get_args(Split)
) -> list[Fixture]:
    """Every variant of `kinds`, written to `folder` where it is not there already, or was cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _render(folder, kind, split, number)
        for split in splits
        for kind in kinds
        for number in range(len(_FORMATS[split]))
        # Damage that is both strong and not fatal needs long groups of pictures, which libx264 gives
        if kind != "bit damage" or _FORMATS[split][number][2] == "libx264"
    ]


def _render(folder: Path, kind: str, split: Split, number: int) -> Fixture:
    size, fps, codec, suffix = _FORMATS[split][number]
    name = f"{kind.replace(' ', '_')}-{split}-{number}"
    path, notes = folder / f"{name}.{suffix}", folder / f"{name}.json"
    if not notes.exists():
        edit = Edit(split, size, fps, zlib.crc32(name.encode()))
        KINDS[kind](edit)
        write(path, edit.frames, fps, codec)
        if kind == "bit damage":
            _damage(path, edit.cuts)
        notes.write_text(json.dumps([len(edit.frames), edit.cuts, edit.transitions]))
    frames, cuts, transitions = json.loads(notes.read_text())
    return Fixture(name, path, kind, split, fps, frames, tuple(cuts), tuple((a, b) for a, b in transitions))


def _damage(path: Path, cuts: Sequence[int]) -> None:
    """Overwrite bytes in the middle of every second shot, in one packet of each; the index stays whole."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size and packet.pts is not None]
        packets.sort(key=lambda packet: cast(int, packet.pts))
        places = [(packet.pos, packet.size) for packet in packets]
    data = bytearray(path.read_bytes())
    for first, last in zip(cuts[::2], cuts[1::2]):
        position, size = places[first + (last - first) // 3]
        middle = position + size // 2
        data[middle : middle + 24] = bytes(b ^ 0x5A for b in data[middle : middle + 24])
    path.write_bytes(data)
