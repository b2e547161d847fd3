"""How well the default policy finds labelled defects. Belongs here: which rules and events stand for which defect.

A fixture is one shot and is judged whole, so that what divides footage into shots has no part in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.labelled import Fixture
from benchmarks.labelled.scorer import Score, match_stretches
from vid_assets.curation.groups import GROUPS
from vid_assets.curation.policy import Policy, judge
from vid_assets.curation.scores import ClipScore, score
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.curation.statistics import measure
from vid_assets.footage.probe import probe

#: Fixtures are small, to be cheap.
POLICY = Policy(short_side_min=100)

#: Defect -> the rules that reject a clip for it.
RULES: dict[str, frozenset[str]] = {
    "freeze": frozenset({"longest_freeze_max"}),
    "cadence": frozenset({"near_duplicate_share_max"}),
    "gap": frozenset({"timestamp_step_max"}),
    "flicker": frozenset({"flicker_max"}),
    "black": frozenset({"black_share_max"}),
    "clipped": frozenset({"clipped_share_max"}),
    "blur": frozenset({"sharpness_min"}),
    "bars": frozenset({"kept_area_min"}),
    "still": frozenset({"motion_min", "motion_share_min"}),
    "shake": frozenset({"shake_max"}),
    "dark": frozenset({"luma_min"}),
    "cut": frozenset({"residual_cut_max"}),
    "damage": frozenset({"corrupt_frames_max"}),
    "truncation": frozenset({"decoded_ratio_min"}),
}
#: Defect -> the kind of event that tells its times.
EVENTS: dict[str, str] = {
    "freeze": "freeze",
    "cadence": "freeze",
    "gap": "gap",
    "flicker": "flicker",
    "black": "black",
    "clipped": "clipped",
    "still": "still",
    "shake": "shake",
    "cut": "cut",
    "damage": "corrupt",
}
#: Defect -> the classes of fixtures that are no witness for or against it. What damaged data does to the picture is
#: anybody's guess; a still picture, or a blurred one, may well be coded as a frozen one, which is still; a dark one is
#: black; and light that changes at once, or a part that is missing, is what a cut looks like.
_UNSURE: dict[str, frozenset[str]] = {
    **dict.fromkeys(("flicker", "shake", "gap", "truncation"), frozenset({"damage"})),
    "still": frozenset({"damage", "freeze"}),
    **dict.fromkeys(("freeze", "cadence"), frozenset({"damage", "still", "dark", "black", "blur"})),
    "black": frozenset({"dark"}),
    "blur": frozenset({"damage", "dark"}),
    "cut": frozenset({"damage", "gap", "black", "clipped", "flicker"}),
}


@dataclass(frozen=True)
class Judged:
    """A fixture, what was measured of it, and the rules that it breaks."""

    fixture: Fixture
    score: ClipScore
    times: np.ndarray
    broken: frozenset[str]

    def stretches(self, kind: str) -> list[tuple[int, int]]:
        """First and last frame of each event of a kind, counted as in the labels even where frames were lost."""
        fixture, times = self.fixture, self.times
        if len(times) != fixture.frames:
            times = times[0] + np.arange(fixture.frames) / fixture.fps
        found = []
        for event in self.score.continuity:
            if event.kind == kind:
                first, stop = np.searchsorted(times, [event.start_s - 1e-3, event.end_s - 1e-3]).tolist()
                found.append((first, max(first, stop - 1)))
        return found


def judged(fixture: Fixture) -> Judged:
    """Measure a fixture as one clip and judge it by the default policy."""
    video: dict[str, Any] = vars(probe(str(fixture.path))) | {"size_bytes": os.path.getsize(fixture.path)}
    source = SourceArrays(video, measure(str(fixture.path), video, [name for name in GROUPS if name != "thumbnails"]))
    start, end = float(source.edges[0]), float(source.edges[-1])
    clip = {"start_s": start, "end_s": end, "frame_count": len(source.times), "kind": "video"}
    result = score(clip, source)
    return Judged(fixture, result, source.times, frozenset(one.rule for one in judge("video", result.metrics, POLICY)))


def rejections(cases: Sequence[Judged], defect: str) -> Score:
    """Clips that the rules of a defect reject, against those that have it."""
    total = Score()
    for case in _witnesses(cases, defect):
        has, found = defect in case.fixture.defects, bool(case.broken & RULES[defect])
        total += Score(int(has and found), int(found), int(has))
    return total


def events(cases: Sequence[Judged], defect: str, tolerance: int = 1) -> Score:
    """Events of the kind of a defect, against its labels: both ends at most `tolerance` frames off."""
    kind = EVENTS[defect]
    alike = [name for name, other in EVENTS.items() if other == kind]
    total = Score()
    for case in _witnesses(cases, defect):
        if defect in case.fixture.defects or not set(alike) & set(case.fixture.defects):
            total += match_stretches(case.fixture.defects.get(defect, ()), case.stretches(kind), tolerance)
    return total


def _witnesses(cases: Sequence[Judged], defect: str) -> list[Judged]:
    return [case for case in cases if case.fixture.kind not in _UNSURE.get(defect, ())]
