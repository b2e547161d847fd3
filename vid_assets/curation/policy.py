"""Which clips are good enough. Belongs here: the rules, what each reads and applies to, and the verdict.

The limits themselves are numbers in the configuration (`config.Policy`, one field per rule).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vid_assets.config import Policy

POLICY_VERSION = "2"

_VIDEO = frozenset({"video"})
_ALL = frozenset({"video", "image"})


@dataclass(frozen=True)
class Rule:
    """A limit on one metric: `name` is the field of the configuration, `op` what a good clip satisfies.

    calibrated: the limit has no published source, so that the corpus says what is usual (`vid-assets calibrate`).
    """

    name: str
    metric: str
    op: str
    kinds: frozenset[str]
    unit: str
    doc: str
    calibrated: bool = False


RULES: tuple[Rule, ...] = (
    Rule("decoded_ratio_min", "decoded_ratio", ">=", _ALL, "", "the source decodes (nearly) whole"),
    Rule("corrupt_frames_max", "corrupt_frames", "<=", _ALL, "frames", "no frame shows damage"),
    Rule("duration_min", "duration", ">=", _VIDEO, "s", "long enough to train on"),
    Rule("fps_min", "fps", ">=", _VIDEO, "frames/s", "no slide show"),
    Rule("bits_per_pixel_min", "bits_per_pixel", ">=", _VIDEO, "bit", "not compressed to mush"),
    Rule("aspect_min", "aspect", ">=", _ALL, "", "not extremely tall"),
    Rule("aspect_max", "aspect", "<=", _ALL, "", "not extremely wide"),
    Rule("short_side_min", "short_side", ">=", _ALL, "px", "enough pixels without the letterbox"),
    Rule("residual_cut_max", "residual_cut", "<=", _VIDEO, "", "no cut was missed inside the clip", calibrated=True),
    Rule("near_duplicate_share_max", "near_duplicate_share", "<=", _VIDEO, "", "few repeated frames", calibrated=True),
    Rule("longest_freeze_max", "longest_freeze", "<=", _VIDEO, "s", "no long freeze", calibrated=True),
    Rule("timestamp_step_max", "timestamp_step", "<=", _VIDEO, "medians", "no gap in the frame times", calibrated=True),
    Rule("flicker_max", "flicker", "<=", _VIDEO, "of 255", "steady light", calibrated=True),
    Rule("luma_min", "luma", ">=", _ALL, "of 255", "not too dark"),
    Rule("luma_max", "luma", "<=", _ALL, "of 255", "not too bright"),
    Rule("black_share_max", "black_share", "<=", _ALL, "", "few black frames"),
    Rule("clipped_share_max", "clipped_share", "<=", _ALL, "", "few overexposed frames"),
    Rule("sharpness_min", "sharpness", ">=", _ALL, "", "in focus", calibrated=True),
    Rule("motion_min", "motion", ">=", _VIDEO, "diagonals", "something moves", calibrated=True),
    Rule("motion_max", "motion", "<=", _VIDEO, "diagonals", "not a blur of motion, on average", calibrated=True),
    Rule("motion_share_min", "motion_share", ">=", _VIDEO, "", "something moves often enough", calibrated=True),
    Rule("shake_max", "shake", "<=", _VIDEO, "diagonals", "the camera is steady enough", calibrated=True),
    Rule("shot_rate_max", "shot_rate", "<=", _VIDEO, "cuts/s", "the source is no rapid montage"),
    Rule("kept_area_min", "kept_area", ">=", _ALL, "", "the letterbox leaves most of the picture"),
)


@dataclass(frozen=True)
class Failure:
    """A rule that a clip breaks; `not_measured:<rule>` with value None where the metric could not be measured."""

    rule: str
    value: float | None
    limit: float


def judge(kind: str, metrics: Mapping[str, float | None], policy: Policy) -> list[Failure]:
    """All rules that a clip of `kind` (video or image) breaks, in the order of `RULES`; empty: accepted.

    A rule whose limit is None is off. A rule that does not apply to the kind is skipped; one that applies but whose
    metric was not measured is a failure of its own.
    """
    failures = []
    for rule in RULES:
        limit = getattr(policy, rule.name)
        if limit is None or kind not in rule.kinds:
            continue
        value = metrics.get(rule.metric)
        # NaN satisfies no comparison, so it would slip through one written the other way round
        if value is None or value != value:
            failures.append(Failure(f"not_measured:{rule.name}", None, limit))
        elif not (value >= limit if rule.op == ">=" else value <= limit):
            failures.append(Failure(rule.name, value, limit))
    return failures
