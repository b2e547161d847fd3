"""What all measures share: their interface, and sampling on the clock."""

from __future__ import annotations

from typing import Protocol

from vid_assets.curation.groups import Columns
from vid_assets.curation.picture import Picture


class Measure(Protocol):
    """One group of statistics in the making."""

    timestamps: list[float]
    stats: Columns
    thumbnails: list[tuple[float, bytes]]

    def add(self, picture: Picture) -> None:
        """Measure the next frame in presentation order."""

    def finish(self) -> None:
        """Measure what is left, after the last frame."""

    def miniatures(self) -> bytes | None:
        """What the group holds of `curation.miniatures`."""


class Group:
    """What all groups share: one value or None in each column for each timestamp."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.timestamps: list[float] = []
        self.stats: Columns = {name: [] for name in self.columns}
        self.thumbnails: list[tuple[float, bytes]] = []

    def finish(self) -> None:
        pass

    def miniatures(self) -> bytes | None:
        return None

    def _append(self, time_s: float, *values: float | None) -> None:
        self.timestamps.append(time_s)
        for name, value in zip(self.columns, values, strict=True):
            self.stats[name].append(value)


class Every:
    """Picks samples of a frame sequence on a regular grid of the clock, starting with the first frame."""

    def __init__(self, step_s: float) -> None:
        self._step = step_s
        self._next: float | None = None

    def due(self, time_s: float) -> bool:
        """Whether the frame at `time_s` is the first at or after the next point of the grid."""
        if self._next is None:
            self._next = time_s
        if time_s < self._next - 1e-6:
            return False
        self._next += self._step * (1 + max(0.0, (time_s - self._next) // self._step))
        return True
