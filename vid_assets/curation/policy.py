"""Which clips are good enough: the limits as the configuration sets them, and the verdict on a clip.

What there are limits of, and what they are by default, stands in `metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, create_model

from vid_assets.curation.metrics import RULES
from vid_assets.curation.metrics.base import Rule
from vid_assets.section import Section

POLICY_VERSION = "3"

#: The rule of clips in which much cannot be measured.
_SHORT = "duration_min"


def _field(rule: Rule) -> Any:
    limit = rule.limit
    words = f"{limit.doc} ({rule.metric.doc})"
    return (float | None, Field(limit.default, ge=limit.ge, gt=limit.gt, le=limit.le, description=words))


_Limits: Any = create_model("_Limits", __base__=Section, **{rule.name: _field(rule) for rule in RULES})


class Policy(_Limits):
    """Limits that a clip must keep, one for each rule of `metrics.RULES`. A rule set to null is switched off."""


@dataclass(frozen=True)
class Failure:
    """A rule that a clip breaks; `not_measured:<rule>` with value None where the metric could not be measured."""

    rule: str
    value: float | None
    limit: float


def judge(kind: str, metrics: Mapping[str, float | None], policy: Policy) -> list[Failure]:
    """All rules that a clip of `kind` (video or image) breaks, in the order of `RULES`; empty: accepted.

    A rule whose limit is None is off. A rule that does not apply to the kind is skipped; one that applies but whose
    metric was not measured is a failure of its own; not so of a clip that is too short by a rule, which is why.
    """
    failures = []
    for rule in RULES:
        limit = getattr(policy, rule.name)
        if limit is None or kind not in rule.metric.kinds:
            continue
        value = metrics.get(rule.metric.name)
        # NaN satisfies no comparison, so it would slip through one written the other way round
        if value is None or value != value:
            failures.append(Failure(f"not_measured:{rule.name}", None, limit))
        elif not rule.keeps(value, limit):
            failures.append(Failure(rule.name, value, limit))
    if any(one.rule == _SHORT for one in failures):
        return [one for one in failures if one.value is not None]
    return failures
