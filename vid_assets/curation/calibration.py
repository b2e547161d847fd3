"""Limits proposed from a corpus. Belongs here: percentiles of a metric, as absolute numbers for the configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.metrics import RULES
from vid_assets.curation.metrics.base import Rule
from vid_assets.curation.policy import Failure, Policy
from vid_assets.curation.tuning import Scored

#: Percentiles that are shown of every metric.
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Proposal:
    """A limit for one rule: the one in force, the one proposed, and how the metric is distributed.

    `measured` clips have a value; `rejected_now` and `rejected_then` are how many of them the two limits reject.
    `percentiles` are the values at `PERCENTILES`. `limit` is None where nothing was measured.
    """

    rule: Rule
    current: float | None
    limit: float | None
    measured: int
    rejected_now: int
    rejected_then: int
    percentiles: tuple[float, ...]


def propose(
    clips: Sequence[Scored], failures: Mapping[str, list[Failure]], policy: Policy, names: Iterable[str], share: float
) -> list[Proposal]:
    """A limit for each rule of `names` that rejects about `share` (0-1) of the clips that no other rule rejects.

    Clips that other rules reject are left out, so that black or damaged footage does not move the limit of another
    metric. The limit is rounded to three digits, to the side where it rejects fewer.
    """
    wanted = set(names)
    return [_propose(rule, clips, failures, policy, share) for rule in RULES if rule.name in wanted]


def _propose(
    rule: Rule, clips: Sequence[Scored], failures: Mapping[str, list[Failure]], policy: Policy, share: float
) -> Proposal:
    current = getattr(policy, rule.name)
    found = []
    for clip in clips:
        value = clip.metrics.get(rule.metric.name)
        others = [failure for failure in failures[clip.clip_id] if failure.rule != rule.name]
        if clip.kind in rule.metric.kinds and value is not None and math.isfinite(value) and not others:
            found.append(value)
    if not found:
        return Proposal(rule, current, None, 0, 0, 0, ())
    values = np.sort(np.asarray(found, dtype=np.float64))
    limit = _rounded(float(np.quantile(values, share if rule.op == ">=" else 1 - share)), rule.op)
    shown = tuple(float(value) for value in np.percentile(values, PERCENTILES))
    return Proposal(
        rule, current, limit, len(values), _rejected(values, rule, current), _rejected(values, rule, limit), shown
    )


def _rejected(values: np.ndarray, rule: Rule, limit: float | None) -> int:
    if limit is None:
        return 0
    return int(np.count_nonzero(values < limit if rule.op == ">=" else values > limit))


def _rounded(value: float, op: str, digits: int = 3) -> float:
    """`value` with `digits` significant digits, downwards for a lower limit and upwards for an upper one."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    steps = math.floor(value / unit + 1e-9) if op == ">=" else math.ceil(value / unit - 1e-9)
    return float(f"{steps * unit:.{digits}g}")
