"""How shot boundaries agree with a fixture's labels. Belongs here: the rules, shared by the tests and the benchmark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.labelled import Fixture
from benchmarks.labelled.scorer import Score, match_frames, match_overlaps
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.settings import Shots
from vid_assets.curation.statistics import measure
from vid_assets.curation.transitions import find_boundaries
from vid_assets.footage.probe import probe

Stretch = tuple[int, int]

#: A transition is found where what was found and what is labelled share this much of both together.
OVERLAP = 0.5


def measured(path: Path, **changes: Any) -> dict[str, GroupStats]:
    """The statistics that boundaries are found in; `changes` to what the header says."""
    video = vars(probe(str(path))) | {"size_bytes": os.path.getsize(path)} | changes
    return measure(str(path), video, ("change",))


def found_in(groups: dict[str, GroupStats], config: Shots) -> tuple[list[int], list[Stretch]]:
    """First frames after cuts, and [first, last] frames of transitions."""
    boundaries = find_boundaries(groups, config)
    stretches = [(item.first, item.end - 1) for item in boundaries if item.first < item.end]
    return [item.first for item in boundaries if item.first == item.end], stretches


def score(fixture: Fixture, cuts: Sequence[int], stretches: Sequence[Stretch]) -> Score:
    """Cuts must be found as cuts, within a frame, and transitions as transitions; anything else is a false alarm."""
    return match_frames(fixture.cuts, cuts) + match_overlaps(fixture.transitions, stretches, OVERLAP)


def score_points(cuts: Iterable[int], transitions: Iterable[Stretch], points: Sequence[int]) -> Score:
    """For a detector that knows cuts only: any one cut in a transition, or a frame beside it, counts as finding it."""
    labels = [(cut - 1, cut + 1) for cut in cuts] + [(first - 1, last + 1) for first, last in transitions]
    return match_overlaps(labels, [(point, point) for point in points])
