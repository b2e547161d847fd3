"""One source as arrays. Belongs here: what all its clips share, each made once, however many are cut from it.

In all arrays not measured is NaN. Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from vid_assets.curation.cuts import as_array
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.settings import Shots
from vid_assets.curation.shots import frame_edges, standard_cuts
from vid_assets.curation.transitions import Boundary, find_boundaries


class SourceArrays:
    """The statistics of one source: `video` is its row of the table `videos`, with size_bytes."""

    def __init__(self, video: Mapping[str, Any], groups: Mapping[str, GroupStats]) -> None:
        self.video, self.groups = video, groups
        self._columns: dict[tuple[str, str], np.ndarray] = {}

    @cached_property
    def times(self) -> np.ndarray:
        """Time of each decoded frame, seconds, ascending."""
        return np.asarray(self.groups["light"].timestamps, dtype=np.float64)

    @cached_property
    def edges(self) -> np.ndarray:
        """The times, and the time at which the last frame ends."""
        return frame_edges(self.times)

    @cached_property
    def cuts(self) -> np.ndarray:
        """How clearly each frame starts a new shot by the standard detector; 1 and more is a cut."""
        return standard_cuts(self.groups)

    @cached_property
    def transitions(self) -> list[Boundary]:
        """Fades, dissolves and wipes by the standard detector, in order of time."""
        return [found for found in find_boundaries(self.groups, Shots()) if found.first < found.end]

    def column(self, group: str, name: str) -> np.ndarray:
        """One column of statistics, for all frames."""
        if (group, name) not in self._columns:
            self._columns[group, name] = as_array(self.groups[group].stats[name])
        return self._columns[group, name]

    def frames(self, clip: Mapping[str, Any]) -> slice:
        """The frames of a clip (start_s, end_s), as a slice of all; both times are equal for a still."""
        start = int(np.searchsorted(self.times, clip["start_s"] - 1e-6))
        if clip["start_s"] == clip["end_s"]:
            return slice(start, min(start + 1, len(self.times)))
        return slice(start, int(np.searchsorted(self.times, clip["end_s"] - 1e-6)))
