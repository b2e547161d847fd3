"""The frames of windows: each source decoded once for all its windows, in whatever buckets they are.

Windows come out as they are complete. Held at a time, for each source that is being read: some 16 MB of decoded
pictures, and the windows that are open at that moment of the video, which are few: those of one clip and bucket do not
overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from model.errors import first_line
from vid_assets.encoding.content_key import LatentParts
from vid_assets.encoding.transform import fit_frames
from vid_assets.encoding.windows import Window
from vid_assets.footage.decode import Route, frames_on_screen, stream_frames
from vid_assets.footage.opening import ChangedSinceScanError, opened, refuse_changed, why_unread
from vid_assets.footage.reader import DecodeError
from vid_assets.footage.stills import read_image


@dataclass(frozen=True)
class Task:
    """One latent to make: its key's parts, its window, and where its frames come from."""

    parts: LatentParts
    window: Window
    source: Mapping[str, Any]
    video: Mapping[str, Any]
    timestamps: Sequence[float]
    route: Route
    crop: tuple[int, int, int, int] | None


#: A window with its frames (F, H, W, 3) uint8 in the size of its bucket, or with the reason why it has none.
Decoded = tuple[Task, np.ndarray | str]


def by_source(tasks: Iterable[Task]) -> list[list[Task]]:
    """The tasks of each source together, in the order of time."""
    ordered = sorted(tasks, key=lambda task: (task.source["uri"], task.window.start_s, task.window.bucket.name))
    return [list(group) for _, group in groupby(ordered, key=lambda task: task.source["uri"])]


def decoded(tasks: Sequence[Task]) -> Iterator[Decoded]:
    """The windows of one source with their frames, in the order in which they are complete.

    Where the file is no longer the one that was hashed, those that are left have that as their reason.
    """
    source, done = tasks[0].source, set()
    try:
        with opened(source) as path:
            found = _still(path, tasks) if tasks[0].video["kind"] == "image" else _windows(path, tasks)
            for task, frames in found:
                if path == source["uri"]:  # before a latent of other content could be stored under this name
                    refuse_changed(source)
                done.add(id(task))
                yield task, frames
    except (DecodeError, OSError, ChangedSinceScanError) as error:
        if isinstance(error, DecodeError):
            reason = _undecodable(error)
        else:
            reason = f"{source['uri']} {why_unread(error)}"
        for task in tasks:
            if id(task) not in done:
                yield task, reason


def _still(path: str, tasks: Sequence[Task]) -> Iterator[Decoded]:
    picture = read_image(path)[None]
    for task in tasks:
        yield task, fit_frames(picture, task.window.bucket.height, task.window.bucket.width, task.crop)


class _Open:
    """A window that is being filled: the numbers of its frames, and the picture of each that has come."""

    def __init__(self, task: Task, numbers: np.ndarray) -> None:
        self.task, self.numbers = task, numbers
        bucket = task.window.bucket
        self.frames = np.empty((len(numbers), bucket.height, bucket.width, 3), np.uint8)
        self._shape: tuple[int, ...] | None = None

    def add(self, number: int, picture: np.ndarray | DecodeError) -> str | None:
        """Take the frame `number`; the reason where the window cannot be filled."""
        if isinstance(picture, DecodeError):
            return _undecodable(picture)
        if self._shape not in (None, picture.shape):
            return "cannot be decoded: the picture size changes within the window"
        self._shape = picture.shape
        bucket = self.task.window.bucket
        (fitted,) = fit_frames(picture[None], bucket.height, bucket.width, self.task.crop)
        self.frames[self.numbers == number] = fitted
        return None


def _windows(path: str, tasks: Sequence[Task]) -> Iterator[Decoded]:
    """Windows of one video, by one pass over those of its frames that some window shows."""
    first = tasks[0]
    times = np.asarray(first.timestamps, dtype=np.float64)
    waiting: list[tuple[Task, np.ndarray]] = []
    for task in tasks:
        numbers = frames_on_screen(times, task.window.times_s)
        if numbers.min() < 0:
            yield task, f"cannot be decoded: nothing is on screen at {task.window.start_s:.3f} s"
        else:
            waiting.append((task, numbers))
    waiting.sort(key=lambda one: int(one[1][0]))
    wanted: dict[int, int] = {}  # number of a frame -> how many windows still show it
    for _, numbers in waiting:
        for number in np.unique(numbers).tolist():
            wanted[number] = wanted.get(number, 0) + 1

    def needed() -> Iterator[int]:
        yield from (number for number in sorted(wanted) if wanted[number])

    open_windows: list[_Open] = []
    for number, picture in stream_frames(path, first.video, needed(), times, first.route):
        while waiting and waiting[0][1][0] <= number:
            open_windows.append(_Open(*waiting.pop(0)))
        still_open = []
        for window in open_windows:
            error = window.add(number, picture) if number in window.numbers else None
            if error:
                for other in np.unique(window.numbers).tolist():
                    wanted[other] -= 1  # so that no more is decoded for it
                yield window.task, error
            elif number == window.numbers[-1]:
                yield window.task, window.frames
            else:
                still_open.append(window)
        open_windows = still_open


def _undecodable(error: DecodeError) -> str:
    return f"cannot be decoded: {first_line(error)}"
