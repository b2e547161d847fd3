"""`vid-assets remove`: taking a video down, so that neither its rows nor its bytes are left in the home.

A removal is remembered in the table `removals` before anything is deleted, and marked as finished after all: from then
on no run ingests the video again, and a removal that was killed goes on where it is asked for again. Decisions about
the video (its split) and the lineage of what was trained on it (members of old training sets, hashes all) stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vid_assets.assets import assets_of
from vid_assets.assets.queries import batches
from vid_assets.assets.train.names import TRAINING_SET
from vid_assets.digests import SHOWN
from vid_assets.home.named import removal_named, video_named
from vid_assets.home.prune import remove_folder
from vid_assets.home.runs import bytes_of_home, runs_in, with_descendants
from vid_assets.project import Project
from vid_assets.store import pins, upkeep
from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.state import BusyError
from vid_assets.store.tables import Row, equals, one_of


@dataclass(frozen=True)
class Removal:
    """What taking a video down takes along.

    Attributes:
        where: the condition that selects its rows, by table.
        rows: how many rows that is.
        digests: the training sets that have samples of it.
        checkpoints: the runs that were trained on one of these, or started from such a run, by folder.
        restarted: unfinished runs on other training sets, which must begin anew because their pin moves.
        tags: tags that are no training set's, such as a user's own, which are given up too, by table.
        copies: other videos with clips that are duplicates of its clips; they stay.
        earlier: other content that its files held before; it stays.
    """

    video_id: str
    uris: tuple[str, ...]
    batches: tuple[str, ...]
    sample_ids: frozenset[str]
    where: dict[str, str]
    rows: dict[str, int]
    digests: tuple[str, ...]
    checkpoints: tuple[str, ...]
    restarted: tuple[str, ...]
    pictures: tuple[str, ...]
    tags: tuple[str, ...]
    copies: tuple[str, ...]
    earlier: tuple[str, ...]
    created_at: datetime | None


def removals(project: Project) -> list[Row]:
    """The rows of `removals`, oldest first."""
    return sorted(project.store.read("removals"), key=lambda row: row["created_at"])


def removal_of(project: Project, what: str) -> Removal:
    """What taking a video down would take along; changes nothing.

    `what` is as of `named.video_named`, which raises `ConfigError` where it means no video, or more than one.
    """
    video_id, store = video_named(project, what), project.store
    sources = store.read("sources", equals("video_id", video_id))
    uris = {row["uri"] for row in sources if row["state"] != "replaced"}
    before = store.read("removals", equals("video_id", video_id))
    nothing: Row = {"uris": [], "sample_ids": [], "digests": [], "checkpoints": [], "created_at": None}
    started = before[0] if before else nothing  # one that was killed has deleted what would tell
    mine = equals("video_id", video_id)
    of_batches = {row["ingest_batch"] for row in [*sources, *store.read("videos", mine, ["ingest_batch"])]}
    clips = [row["clip_id"] for row in store.read("clips", mine, ["clip_id"])]
    samples = set(started["sample_ids"]) | {row["sample_id"] for row in store.read("samples", mine, ["sample_id"])}
    samples |= {row["sample_id"] for row in store.read("latents", equals("source_hash", video_id), ["sample_id"])}
    own = {"video_id": [video_id], "source_hash": [video_id], "clip_id": clips, "duplicate_of": clips}
    where = {"embeddings": one_of("key", _own_embeddings(project, video_id, clips, samples))}
    for name in reversed(table_names()):  # who refers goes before what is referred to
        if belongs := table_spec(name).of_video:
            where[name] = " OR ".join(one_of(column, own[column]) for column in belongs)
    members = store.read("training_set_members", one_of("sample_id", sorted(samples)), ["digest"])
    digests = {row["digest"] for row in members} | set(started["digests"])
    saw = _saw(project, digests)
    unfinished = [run for run in runs_in(project) if not run.there and not run.aside]
    return Removal(
        video_id=video_id,
        uris=tuple(sorted(uris | set(started["uris"]))),
        batches=tuple(sorted(of_batches)),
        sample_ids=frozenset(samples),
        where=where,
        rows={table: count for table, condition in where.items() if (count := store.count(table, condition))},
        digests=tuple(sorted(digests)),
        checkpoints=tuple(sorted(saw | set(started["checkpoints"]))),
        restarted=tuple(run.folder for run in unfinished if run.folder not in saw),
        pictures=tuple(_pictures(project, of_batches, samples)),
        tags=tuple(_other_tags(project, digests)),
        copies=tuple(_copies(project, video_id, clips)),
        earlier=tuple(_earlier(project, uris, video_id)),
        created_at=started["created_at"],
    )


def remove(project: Project, one: Removal, progress: Callable[[str], None] = print) -> int:
    """Take a video down; returns the bytes that were freed. Only for who has the home alone.

    Raises `BusyError` where a training process that lost its parent still reads what would go.
    """
    store = project.store
    if training := [run.folder for run in runs_in(project) if run.busy]:
        raise BusyError(f"a process still trains in {', '.join(training)}. Wait for it to end; nothing was removed.")
    before = bytes_of_home(project)
    record: Row = {
        "video_id": one.video_id,
        "uris": list(one.uris),
        "sample_ids": sorted(one.sample_ids),
        "digests": list(one.digests),
        "checkpoints": list(one.checkpoints),
        "created_at": one.created_at or datetime.now(UTC),
        "finished_at": None,
    }
    store.upsert("removals", [record])
    _forget_states(project, one)
    for table, condition in one.where.items():
        if one.rows.get(table):
            progress(f"deleting {one.rows[table]:,} rows of {table}")
            store.delete(table, condition)
    for path in one.pictures:
        progress(f"deleting {path}")
        target = project.local / path
        if target.is_dir():
            remove_folder(target)
        else:
            target.unlink(missing_ok=True)
    progress("taking the bytes from the disk")
    _reclaim(project, one)
    store.upsert("removals", [record | {"finished_at": datetime.now(UTC)}])
    return max(0, before - bytes_of_home(project))


def undo(project: Project, what: str) -> list[str]:
    """Let a removed video be ingested again; says what happens next. Raises `ConfigError` where none is meant."""
    video_id = removal_named(removals(project), what)["video_id"]
    with project.states.alone():
        for row in project.store.read("sources", equals("video_id", video_id), ["ingest_batch"]):
            project.states.remove("raw_videos", row["ingest_batch"])
        project.store.delete("removals", equals("video_id", video_id))
    return [f"video {video_id[:SHOWN]} is no longer shut out; `vid-assets run` ingests it where its file is there"]


def _own_embeddings(project: Project, video_id: str, clips: list[str], samples: set[str]) -> list[str]:
    """The embeddings of its captions and first frames that nothing else has."""
    store, own = project.store, set(clips)
    captions: tuple[set[str], set[str]] = (set(), set())
    for row in store.read("captions", "caption_key IS NOT NULL", ["clip_id", "caption_key"]):
        captions[row["clip_id"] in own].add(row["caption_key"])
    keys: tuple[set[str], set[str]] = (set(), set())
    for row in store.read("embeddings", columns=["key", "caption_key"]):
        for whose in (False, True):
            if row["caption_key"] in captions[whose]:
                keys[whose].add(row["key"])
    for row in store.read("first_frames", "image_key IS NOT NULL", ["video_id", "image_key"]):
        keys[row["video_id"] == video_id].add(row["image_key"])
    for row in store.read("training_set_members"):
        keys[row["sample_id"] in samples].update(pins.embedding_keys(row))
    return sorted(keys[True] - keys[False])


def _saw(project: Project, digests: set[str]) -> set[str]:
    """The folders of the runs that were trained on these training sets, and of those that started from such a run."""
    runs = runs_in(project)
    return {run.folder for run, _ in with_descendants([run for run in runs if run.digest in digests], runs)}


def _pictures(project: Project, of_batches: set[str], samples: set[str]) -> Iterable[str]:
    """Contact sheets that may show it, and evaluations that show it beside what was generated, by path."""
    root, others = project.local, set(batches(project.store)) - of_batches
    for path in sorted((root / "views").rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not others & {Path(part).stem for part in relative.parts}:
            yield str(relative)
    for folder in sorted((root / "evaluations").glob("*/*/*/")):
        try:
            shown = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["videos"]
        except (OSError, ValueError, KeyError):
            shown = [{"sample_id": sample} for sample in samples]  # half written: it may show it
        if any(video.get("sample_id") in samples for video in shown):
            yield str(folder.relative_to(root))


def _other_tags(project: Project, digests: set[str]) -> Iterable[str]:
    """Tags that cannot move: those of nobody's training set, and of sets that lack a member for another reason."""
    store = project.store
    rows = store.read("training_sets")
    moving = {row["tag"] for row in pins.movable(store, [row for row in rows if row["digest"] not in digests])}
    named = {row["tag"] for row in rows if row["digest"] in digests}
    for table in table_names():
        yield from sorted(f"{tag} of {table}" for tag in upkeep.tags(store, table) - moving - named)


def _copies(project: Project, video_id: str, clips: list[str]) -> list[str]:
    store = project.store
    rows = store.read("duplicates", f"{one_of('clip_id', clips)} OR {one_of('duplicate_of', clips)}")
    others = {row[column] for row in rows for column in ("clip_id", "duplicate_of")} - set(clips)
    videos = {row["video_id"] for row in store.read("clips", one_of("clip_id", sorted(others)), ["video_id"])}
    rows = store.read("sources", one_of("video_id", sorted(videos - {video_id})), ["uri", "video_id"])
    return sorted(f"{row['video_id'][:SHOWN]} {row['uri']}" for row in rows)


def _earlier(project: Project, uris: set[str], video_id: str) -> list[str]:
    rows = project.store.read("sources", "state = 'replaced'", ["uri", "video_id"])
    return sorted(row["uri"] for row in rows if row["uri"].rpartition("@")[0] in uris and row["video_id"] != video_id)


def _forget_states(project: Project, one: Removal) -> None:
    """Forget what is finished of its batches, of what is made of all batches, and of the training sets that have it."""
    states = project.states
    for asset in assets_of(project.config).values():
        if asset.partitions == "batch":
            for batch in one.batches:
                states.remove(asset.name, batch)
        elif asset.table in one.where:
            states.remove(asset.name, None)
        elif asset.name.startswith(f"{TRAINING_SET}/"):
            state = states.read(asset.name, None)
            if state is not None and state.data_version in one.digests:
                states.remove(asset.name, None)


def _reclaim(project: Project, one: Removal) -> None:
    """Give up the tags that hold its bytes, move all others to versions without them, and drop every other version."""
    store, pinned = project.store, pins.all_tags(project.store)
    rows = [row for row in store.read("training_sets") if row["digest"] not in one.digests and row["tag"] in pinned]
    moving = pins.movable(store, rows)
    kept = {row["tag"] for row in moving}
    for table in table_names():
        found = upkeep.tags(store, table)
        upkeep.drop_deleted(store, table, loose=found)
        upkeep.drop_tags(store, table, found - kept)
    pins.move(store, moving)
    for table in table_names():
        upkeep.drop_versions(store, table)
