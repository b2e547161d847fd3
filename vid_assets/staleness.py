"""What is stale, and why: every asset partition held against its fingerprint, without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vid_assets.project import Project
from vid_assets.stages import Stage, UpstreamMissingError, all_stages, partitions_of
from vid_assets.store.cache import RETRY, why_stale

Condition = Literal["fresh", "retry", "stale", "failed", "missing", "waiting"]
#: Conditions in which an output may be built on.
SETTLED = ("fresh", "retry")


@dataclass(frozen=True)
class Standing:
    """How an asset partition stands.

    fresh: its output is what it would be now. retry: fresh, but some rows failed in a way that another run may cure.
    stale: its own code, config or inputs changed, or its output did. failed: it finished, but a blocking check did not
    pass. missing: never finished. waiting: an input is not settled; whether this one changes shows when that one ran.
    """

    asset: str
    partition: str | None
    condition: Condition
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Asset and partition, as people write them."""
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset


def standings(project: Project, assets: Iterable[str] | None = None) -> Iterator[Standing]:
    """The standing of every partition of `assets` (default: all), inputs before what is made from them."""
    stages = all_stages(project.config)
    wanted = set(assets) if assets is not None else set(stages)
    unsettled: dict[str, set[str | None]] = {}
    for stage in stages.values():
        if stage.name not in wanted:
            continue
        for partition in partitions_of(project, stage):
            standing = _standing(project, stages, stage, partition, unsettled)
            if standing.condition not in SETTLED:
                unsettled.setdefault(stage.name, set()).add(partition)
            yield standing


def _standing(
    project: Project,
    stages: dict[str, Stage],
    stage: Stage,
    partition: str | None,
    unsettled: dict[str, set[str | None]],
) -> Standing:
    state = project.states.read(stage.name, partition)
    waits = [
        name
        for name in stage.upstream
        if name in unsettled and (stages[name].partitions != stage.partitions or partition in unsettled[name])
    ]
    if state is None:
        reasons = ("never finished", *(f"waits for {name}" for name in waits))
        return Standing(stage.name, partition, "missing", reasons)
    if stage.name == "source_files":
        return Standing(stage.name, partition, *_listing(project))
    try:
        fingerprint = stage.fingerprint(project, partition, stages)
    except UpstreamMissingError:
        return Standing(stage.name, partition, "waiting", tuple(f"waits for {name}" for name in waits))
    changes = why_stale(state, fingerprint, lambda found: stage.verify(project, partition, found))
    if changes and changes != [RETRY]:
        return Standing(stage.name, partition, "stale", tuple(changes))
    if waits:
        return Standing(stage.name, partition, "waiting", tuple(f"waits for {name}" for name in waits))
    if state.failed_checks:
        return Standing(stage.name, partition, "failed", tuple(f"check {name}" for name in state.failed_checks))
    if changes:
        return Standing(stage.name, partition, "retry", (RETRY,))
    return Standing(stage.name, partition, "fresh")


def _listing(project: Project) -> tuple[Condition, tuple[str, ...]]:
    """Whether the sources still are what `source_files` saw."""
    from vid_assets.footage.listing import ListingError
    from vid_assets.footage.membership import ShrunkListingError
    from vid_assets.steps import sources

    try:
        diff = sources.plan(project, sources.settled_files(project))
    except (ListingError, ShrunkListingError) as error:
        return "stale", (str(error),)
    counts = {
        "new": len(diff.added),
        "changed": len(diff.changed),
        "renamed": len(diff.renamed),
        "removed": len(diff.removed),
        "with another caption": len(diff.recaptioned),
    }
    reasons = tuple(f"{count} files {what}" for what, count in counts.items() if count)
    return ("stale", reasons) if reasons else ("fresh", ())
