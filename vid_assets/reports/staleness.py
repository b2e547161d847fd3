"""What is stale, and why: every asset partition held against its fingerprint, without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vid_assets.assets import assets_of
from vid_assets.assets.asset import Asset, Assets, UpstreamMissingError, Work
from vid_assets.assets.queries import batches
from vid_assets.project import Project
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


def standings(project: Project, names: Iterable[str] | None = None) -> Iterator[Standing]:
    """The standing of every partition of the assets `names` (default: all), inputs before what is made from them."""
    assets = assets_of(project.config)
    wanted = set(names) if names is not None else set(assets)
    unsettled: dict[str, set[str | None]] = {}
    for asset in assets.values():
        if asset.name not in wanted:
            continue
        for partition in partitions_of(project, asset):
            standing = _standing(Work(project, assets, asset.name, partition), assets, unsettled)
            if standing.condition not in SETTLED:
                unsettled.setdefault(asset.name, set()).add(partition)
            yield standing


def stale_data(project: Project) -> list[Standing]:
    """The data assets that are not settled: all that is made of footage, up to the training sets."""
    names = [one.name for one in assets_of(project.config).values() if one.of_data and one.changes is None]
    return [one for one in standings(project, names) if one.condition not in SETTLED]


def partitions_of(project: Project, asset: Asset) -> list[str | None]:
    """The partitions of an asset; `[None]` for an unpartitioned one."""
    if asset.partitions == "batch":
        return list(batches(project.store))
    return list(project.config.experiments) if asset.partitions == "experiment" else [None]


def _standing(work: Work, assets: Assets, unsettled: Mapping[str, set[str | None]]) -> Standing:
    asset, partition = work.asset, work.partition
    state = work.stored_state
    waits = [
        name
        for name in asset.upstream
        if name in unsettled and (assets[name].partitions != asset.partitions or partition in unsettled[name])
    ]
    if state is None:
        return Standing(asset.name, partition, "missing", ("never finished", *(f"waits for {name}" for name in waits)))
    if asset.changes is not None:
        found = tuple(asset.changes(work))
        return Standing(asset.name, partition, "stale" if found else "fresh", found)
    try:
        fingerprint = work.fingerprint()
    except UpstreamMissingError:
        return Standing(asset.name, partition, "waiting", tuple(f"waits for {name}" for name in waits))
    changes = why_stale(state, fingerprint, lambda found: asset.verify(work, found), adopted=asset.adopted)
    if changes and changes != [RETRY]:
        return Standing(asset.name, partition, "stale", tuple(changes))
    if waits:
        return Standing(asset.name, partition, "waiting", tuple(f"waits for {name}" for name in waits))
    if state.failed_checks:
        return Standing(asset.name, partition, "failed", tuple(f"check {name}" for name in state.failed_checks))
    if changes:
        return Standing(asset.name, partition, "retry", (RETRY,))
    return Standing(asset.name, partition, "fresh")
