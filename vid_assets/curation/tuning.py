"""What other limits would change. Belongs here: comparing two sets of kept clips, reason by reason. Reads no table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vid_assets.curation.policy import Failure, Policy, judge

#: The reason of a clip that passes every rule and loses to a better copy.
DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Scored:
    """A clip with all its metrics (`metrics.METRICS`); `length_s` is 0 for a still."""

    clip_id: str
    video_id: str
    kind: str
    start_s: float
    end_s: float
    metrics: Mapping[str, float | None]

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Flip:
    """A clip that would be kept from now on (`kept`), or no longer, and the reasons that come or go with it."""

    clip: Scored
    kept: bool
    reasons: tuple[str, ...]
    failures: tuple[Failure, ...]


def failures_of(clips: Iterable[Scored], policy: Policy) -> dict[str, list[Failure]]:
    """The rules that each clip breaks, by clip_id; an empty list: accepted."""
    return {clip.clip_id: judge(clip.kind, clip.metrics, policy) for clip in clips}


def reasons_of(failures: Mapping[str, list[Failure]], lost: Iterable[str]) -> dict[str, list[str]]:
    """Why each clip is not kept, by clip_id: the rules that it breaks, or `DUPLICATE`. An empty list: kept."""
    reasons = {clip_id: [failure.rule for failure in found] for clip_id, found in failures.items()}
    for clip_id in lost:
        reasons[clip_id] = [DUPLICATE]
    return reasons


def flips(
    clips: Iterable[Scored],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    failures: Mapping[str, list[Failure]],
) -> list[Flip]:
    """The clips that are kept in one of two sets of reasons and not in the other, in the order of `clips`.

    `failures` are those of the set `after`. The reasons of a clip that is gained are those that it had before.
    """
    found = []
    for clip in clips:
        old, new = before[clip.clip_id], after[clip.clip_id]
        if bool(old) != bool(new):
            found.append(Flip(clip, not new, tuple(old or new), tuple(failures[clip.clip_id])))
    return found


def by_reason(found: Iterable[Flip]) -> dict[str, tuple[int, int]]:
    """How many clips are gained from, and lost to, each reason; a clip counts for every reason it has."""
    gained, lost = Counter[str](), Counter[str]()
    for flip in found:
        (gained if flip.kept else lost).update(flip.reasons)
    return {reason: (gained[reason], lost[reason]) for reason in sorted(gained | lost)}
