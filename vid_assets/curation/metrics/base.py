"""What a metric is, with the limits that a good clip keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays

#: A value that misses a limit by less, as a share of it, keeps it: both look the same where they are shown.
_ROUNDING = 5e-4
VIDEO = frozenset({"video"})
VIDEO_AND_STILLS = frozenset({"video", "image"})


@dataclass(frozen=True)
class Limit:
    """What a good clip keeps, as `lower` or `upper` of a metric; the configuration may set another, or null.

    Attributes:
        default: in the unit of the metric.
        doc: what a clip that keeps it is.
        ge, gt, le: what the configuration may set: at least, more than, at most.
        calibrated: the default has no published source, so that the corpus says what is usual (`vid-assets calibrate`).
    """

    default: float
    doc: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    calibrated: bool = False


@dataclass(frozen=True)
class Rule:
    """A limit of one metric by its name in the configuration; `op` is what a good clip satisfies."""

    name: str
    op: str
    metric: Metric
    limit: Limit

    def keeps(self, value: float, limit: float) -> bool:
        """Whether a clip with this value is good."""
        room = _ROUNDING * abs(limit)
        return value >= limit - room if self.op == ">=" else value <= limit + room


@dataclass(frozen=True)
class Metric:
    """One number of a clip. Its name is a column of the table `clip_scores`.

    Attributes:
        name: also the first part of its rules' names: `luma` has the rules `luma_min` and `luma_max`.
        doc: what it is, with its unit.
        measure: the number; None where it cannot be had.
        kinds: of clips that have it: video, image.
        unit: of its limits, for tables.
        lower, upper: what a good clip keeps.
        version: of its formula, where that is newer than `scores.SCORES_VERSION` "2": a metric that is new, or that is
            computed otherwise, is computed for every clip.
    """

    name: str
    doc: str
    measure: Callable[[ClipArrays], float | None]
    kinds: frozenset[str] = VIDEO
    unit: str = ""
    lower: Limit | None = None
    upper: Limit | None = None
    version: str = ""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Its rules, the lower limit first."""
        limits = (("min", ">=", self.lower), ("max", "<=", self.upper))
        return tuple(Rule(f"{self.name}_{end}", op, self, limit) for end, op, limit in limits if limit)

    def of(self, clip: ClipArrays) -> float | None:
        """The number of a clip; None where it was not measured, or where the metric is none of its kind."""
        return self.measure(clip) if clip.kind in self.kinds else None


def mean(values: np.ndarray[Any, Any]) -> float | None:
    """The mean of what was measured."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def median(values: np.ndarray[Any, Any]) -> float | None:
    """The median of what was measured."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None
