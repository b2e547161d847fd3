"""The footage sensor: a pure difference between what was requested and what the listing shows, and a thin shell.

A file is taken once its size was unchanged for `ingest.settle_s` seconds. A listing that fails is a skipped tick with
the reason, never an empty source. Every request is keyed by what it was made for, so that it is made once.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from vid_assets.assets import assets_of
from vid_assets.assets.asset import Work
from vid_assets.assets.ingest.source_files import as_known, register
from vid_assets.assets.queries import lost_clips
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.footage.listing import ListingError, list_sources
from vid_assets.footage.membership import ShrunkListingError, seen_version
from vid_assets.orchestration.orphans import fail_dead_runs
from vid_assets.orchestration.partitions import register_batches
from vid_assets.project import Project


def batch_run(config: Config) -> tuple[str, ...]:
    """What one run of a batch makes, in one process: all that is made of footage."""
    return tuple(asset.name for asset in assets_of(config).values() if asset.of_data)


def moved_run(config: Config) -> tuple[str, ...]:
    """What is made again for a batch of which other clips lost to better copies: `latents`, and what follows it."""
    made = batch_run(config)
    return ("vae", *made[made.index("latents") :])


@dataclass
class Cursor:
    """What the sensor remembers: files that may still grow, and for what each batch was last requested.

    pending: uri -> [version, since when it has been unchanged]. requested: batch -> digest of its files. moved:
    batch -> digest of the clips that lost to a better copy. looks: counts the looks, from the time of the first one,
    which makes each request's key its own: footage that comes back as it was is requested again, and so is what a
    sensor with a new cursor finds (Dagster drops a request whose key it has seen).
    """

    pending: dict[str, list[Any]] = field(default_factory=dict)
    requested: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    looks: int = 0

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """The cursor as Dagster stored it; an empty one where there is none."""
        return cls(**json.loads(text)) if text else cls()

    def text(self) -> str:
        """The cursor as Dagster stores it."""
        return json.dumps(asdict(self))


def settled(
    found: Sequence[Any], known: Mapping[str, str], pending: Mapping[str, list[Any]], settle_s: float, now: float
) -> tuple[list[Any], dict[str, list[Any]]]:
    """The files of a listing that may be taken, and those that must wait, with the time since they were unchanged.

    `known` has the version of each file that was taken before: such a file stays in as it was taken until its new
    version has settled. `found` are `FoundFile`s.
    """
    taken, waiting = [], {}
    for file in found:
        version = f"{file.size_bytes}:{file.etag}"
        if known.get(file.uri) == version:
            taken.append(file)
            continue
        last, since = pending.get(file.uri, (None, now))
        since = since if last == version else now
        if now - since >= settle_s:
            taken.append(file)
        else:
            waiting[file.uri] = [version, since]
    return taken, waiting


def changed_batches(digests: Mapping[str, str], requested: Mapping[str, str], finished: Mapping[str, str]) -> list[str]:
    """The batches whose files are neither those of the last request nor those that the data was made from."""
    return [batch for batch, now in sorted(digests.items()) if now not in (requested.get(batch), finished.get(batch))]


def footage_sensor(project: Project) -> dg.SensorDefinition:
    """The sensor on the configured sources."""
    ingest, whole = project.config.ingest, batch_run(project.config)

    @dg.sensor(
        name="new_footage",
        asset_selection=dg.AssetSelection.assets(*whole),
        minimum_interval_seconds=ingest.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING if ingest.watch else dg.DefaultSensorStatus.STOPPED,
        description="Registers new and changed footage once it has settled, and takes its batch to latents in one run.",
    )
    def new_footage(
        context: dg.SensorEvaluationContext, project: dg.ResourceParam[Project]
    ) -> dg.SensorResult | dg.SkipReason:
        cursor = Cursor.parse(context.cursor)
        try:
            tick = look(project, cursor, time.time())
        except (ListingError, ShrunkListingError) as error:
            return dg.SkipReason(str(error))
        register_batches(context.instance, tick.batches)
        fail_dead_runs(context.instance)
        return dg.SensorResult(
            run_requests=[
                *(_request(tick, batch, whole) for batch in tick.new),
                *(_request(tick, batch, moved_run(project.config)) for batch in tick.moved),
            ],
            cursor=tick.cursor.text(),
            skip_reason=None if tick.new or tick.moved else dg.SkipReason(tick.why_nothing),
        )

    return new_footage


@dataclass(frozen=True)
class Tick:
    """What one look found: the next cursor, all batches, and run keys of the batches to request."""

    cursor: Cursor
    batches: list[str]
    new: dict[str, str]
    moved: dict[str, str]

    @property
    def why_nothing(self) -> str:
        """Why nothing was requested."""
        waiting = len(self.cursor.pending)
        return f"{waiting} files are still settling" if waiting else "no new footage"


def look(project: Project, cursor: Cursor, now: float) -> Tick:
    """List the sources, register what has settled, and find the batches that need a run.

    A batch needs a run when its files are not those that it was last made from, or when a better copy elsewhere
    changed which of its clips lost.
    """
    config, store = project.config, project.store
    known_rows = store.read("sources", "state <> 'replaced'")
    known = {row["uri"]: seen_version(row) for row in known_rows}
    taken, waiting = settled(list_sources(config.sources), known, cursor.pending, config.ingest.settle_s, now)
    growing = [row for row in known_rows if row["uri"] in waiting and row["state"] == "present"]
    with project.states.lock("source_files", None):
        register(store, project.local, config.batching, [*taken, *map(as_known, growing)])
    digests = _digests(project)
    finished = {
        batch: files
        for batch, files in digests.items()
        if batch not in cursor.requested and _was_made_from_these(project, batch)
    }
    new = {batch: digests[batch] for batch in changed_batches(digests, cursor.requested, finished)}
    outdated = {}
    for batch in digests.keys() - new.keys():
        state = project.states.read("latents", batch)
        lost = digest(lost_clips(store, batch))
        if state is not None and state.fingerprint.inputs.get("duplicates") != lost:
            outdated[batch] = lost
    moved = {batch: lost for batch, lost in outdated.items() if cursor.moved.get(batch) != lost}
    return Tick(Cursor(waiting, digests, outdated, (cursor.looks or int(now)) + 1), sorted(digests), new, moved)


def _digests(project: Project) -> dict[str, str]:
    """A hash of the files and captions of each batch."""
    columns = ["uri", "size_bytes", "etag", "state", "sidecars"]
    files: dict[str, list[Any]] = {}
    for row in project.store.read("sources", "state <> 'replaced'", [*columns, "ingest_batch"]):
        files.setdefault(row["ingest_batch"], []).append([row[name] for name in columns])
    return {batch: digest(rows) for batch, rows in files.items()}


def _was_made_from_these(project: Project, batch: str) -> bool:
    """Whether the batch's rows were made from its files and captions as they are, by hand, before the sensor ran."""
    if project.states.read("latents", batch) is None:
        return False
    assets = assets_of(project.config)
    works = [
        Work(project, assets, name, batch)
        for name, asset in assets.items()
        if any(one.of_files for one in asset.slices)
    ]
    states = [work.stored_state for work in works]
    return all(
        state is not None and state.fingerprint.inputs == work.fingerprint().inputs
        for work, state in zip(works, states, strict=True)
    )


def _request(tick: Tick, batch: str, assets: Sequence[str]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{batch}-{assets[-1]}-{len(assets)}-{tick.cursor.looks}",
        partition_key=batch,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={"vid_assets/started_by": "new_footage", "dagster/max_retries": "2"},
    )
