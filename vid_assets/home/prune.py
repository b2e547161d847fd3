"""`vid-assets prune`: what nothing needs any more, and its deletion in an order that a kill leaves consistent.

Needed are: the samples of the table `samples`; what a state names of the stages and experiments that the configuration
has; the training sets that kept runs were trained on; the runs that kept runs started from. Where such a state is
missing, its work is unfinished, and all that might belong to it is kept.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vid_assets.assets import assets_of
from vid_assets.assets.encode.text_embeddings import SECTIONS, caption_keys, text_sources
from vid_assets.assets.queries import batches
from vid_assets.assets.train.facts import Evaluated, Trained
from vid_assets.assets.train.names import CHAIN, CHECKPOINT, EVALUATION, TRAINING_SET
from vid_assets.digests import SHOWN
from vid_assets.home.runs import Run, bytes_of_home, folder_bytes, runs_in, with_ancestors
from vid_assets.project import Project
from vid_assets.store import pins, upkeep
from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.tables import Row, equals, one_of


@dataclass(frozen=True)
class Item:
    """Something that nothing needs. `keys` are what to delete: row keys, a folder or file below the home, tags."""

    kind: str
    name: str
    reason: str
    bytes: int
    keys: tuple[str, ...] = field(repr=False)


@dataclass
class _Kept:
    """What is needed: run folders, digests of training sets, and those whose pin must stay where it is."""

    runs: list[Run]
    digests: set[str]
    unfinished: set[str]


def find(project: Project) -> list[Item]:
    """What could be deleted, in the order in which it is. Changes nothing."""
    runs = runs_in(project)
    kept = _kept(project, runs)
    sets = project.store.read("training_sets")
    needed = [row for row in sets if row["digest"] in kept.digests]
    return [
        *_states(project),
        *_runs(project, runs, kept),
        *_evaluations(project),
        *_sets(project, sets, needed),
        *_latents(project, kept),
        *_embeddings(project, kept),
        *_files(project, needed, kept),
    ]


def delete(project: Project, items: Iterable[Item], progress: Callable[[str], None] = print) -> int:
    """Delete what `find` found; returns the bytes that were freed. Only for who has the home alone.

    Who refers goes before what is referred to, so a kill in between leaves nothing that points nowhere; what is
    left is found again.
    """
    items, store = list(items), project.store
    before = bytes_of_home(project)
    for item in items:
        progress(f"{item.kind} {item.name}")
        if item.kind == "state":
            project.states.remove(item.keys[0], item.keys[1] or None)
        elif item.kind == "training set":
            store.delete_many("training_sets", "digest", item.keys)
            store.delete_many("training_set_members", "digest", item.keys)
            pins.drop_tags(store, map(pins.tag_name, item.keys))
        elif item.kind == "tag":
            pins.drop_tags(store, item.keys)
        elif item.kind in ("latents", "embeddings"):
            store.delete_many(item.kind, table_spec(item.kind).key[0], item.keys)
        elif item.kind != "files":
            _forget_run(project, item.keys[0])
            remove_folder(project.local / item.keys[0])
    if items:
        progress("giving the bytes back")
        _reclaim(project)
    return max(0, before - bytes_of_home(project))


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a kill leaves no half one under its name."""
    if folder.exists():
        doomed = folder.with_name(f".tmp-pruned-{uuid.uuid4().hex[:8]}")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _kept(project: Project, runs: list[Run]) -> _Kept:
    config, states = project.config, project.states
    named, open_partitions, digests = set(), set(), set()
    for stage in config.stages:
        state = states.read(f"{TRAINING_SET}/{stage.name}", None)
        where = equals("stage", stage.name) if state is None else equals("digest", state.data_version)
        digests |= {row["digest"] for row in project.store.read("training_sets", where, ["digest"])}
        for experiment in config.experiments:
            state = states.read(f"{CHECKPOINT}/{stage.name}", experiment)
            if state is None:
                open_partitions.add((experiment, stage.name))
            else:
                named.add(str(Path(Trained.read(state.facts).folder).parent))

    def needed(run: Run) -> bool:
        return run.busy or run.folder in named or (not run.aside and (run.experiment, run.stage) in open_partitions)

    kept = with_ancestors(filter(needed, runs), runs)
    digests |= {run.digest for run in kept if run.digest}
    return _Kept(kept, digests, {run.digest for run in kept if run.digest and (run.busy or not run.there)})


def _states(project: Project) -> Iterator[Item]:
    """States of stages and experiments that the configuration no longer has."""
    assets = assets_of(project.config)
    for name, partition in project.states.finished():
        family, _, rest = name.partition("/")
        asset = assets.get(name)
        experiment = asset is not None and asset.partitions == "experiment"
        if family not in CHAIN or (asset and not (experiment and partition not in project.config.experiments)):
            continue
        lacks = f"experiment {partition}" if experiment else f"stage {rest}"
        shown = f"{name} [{partition}]" if partition else name
        yield Item("state", shown, f"the configuration has no {lacks}", 0, (name, partition or ""))


def _runs(project: Project, runs: list[Run], kept: _Kept) -> Iterator[Item]:
    for run in runs:
        if run in kept.runs:
            for folder in run.leftovers(project.local):
                yield Item("leftover", folder, "kept aside, or left by a killed process", *_sized(project, folder))
            continue
        if run.aside:
            reason = "kept aside when it was trained again by force"
        elif run.experiment not in project.config.experiments:
            reason = f"the configuration has no experiment {run.experiment}"
        elif run.stage not in {stage.name for stage in project.config.stages}:
            reason = f"the configuration has no stage {run.stage}"
        else:
            reason = "of an earlier recipe or training set" + ("" if run.there else ", never finished")
        yield Item("checkpoint", run.folder, reason, *_sized(project, run.folder))


def _evaluations(project: Project) -> Iterator[Item]:
    config = project.config
    stages = {stage.name for stage in config.stages}
    for path in sorted((project.local / "evaluations").glob("*/*/*/")):
        folder = str(path.relative_to(project.local))
        _, experiment, stage, _ = Path(folder).parts
        if stage in stages and experiment in config.experiments:
            state = project.states.read(f"{EVALUATION}/{stage}", experiment)
            if state is None or Evaluated.read(state.facts).folder == folder:
                continue
            reason = "of an earlier checkpoint or other settings"
        else:
            lacks = f"stage {stage}" if stage not in stages else f"experiment {experiment}"
            reason = f"the configuration has no {lacks}"
        yield Item("evaluation", folder, reason, *_sized(project, folder))


def _sets(project: Project, sets: list[Row], needed: list[Row]) -> Iterator[Item]:
    store = project.store
    for row in sets:
        if row not in needed:
            members = row["train"] + row["heldout"]
            name = f"{row['stage']} {row['digest'][:SHOWN]}"
            yield Item("training set", name, f"no state or kept run names it; {members:,} members", 0, (row["digest"],))
    rows = {row["digest"] for row in sets}
    strays = {row["digest"] for row in store.read("training_set_members", columns=["digest"])} - rows
    for digest in sorted(strays - _forming(project)):
        yield Item("training set", digest[:SHOWN], "members without a training set", 0, (digest,))
    strays = pins.all_tags(store) - {row["tag"] for row in sets}
    if strays and not _forming(project):
        yield Item("tag", ", ".join(sorted(strays)), "of no training set", 0, tuple(sorted(strays)))


def _forming(project: Project) -> set[str]:
    """Digests whose training set may be half written, to be completed by the next run: all of a stage without state."""
    stages = [stage.name for stage in project.config.stages]
    if all(project.states.read(f"{TRAINING_SET}/{name}", None) for name in stages):
        return set()
    return {row["digest"] for row in project.store.read("training_set_members", columns=["digest"])}


def _latents(project: Project, kept: _Kept) -> Iterator[Item]:
    store = project.store
    needed = {row["sample_id"] for row in store.read("samples", columns=["sample_id"])} | {
        row["sample_id"] for row in _members(project, kept, ["sample_id"])
    }
    unfinished = [batch for batch in batches(project.store) if project.states.read("latents", batch) is None]
    where = one_of("ingest_batch", unfinished)
    sources = {row["video_id"] for row in store.read("videos", where, ["video_id"])}
    groups: dict[str, list[Row]] = {}
    for row in store.read("latents", columns=["sample_id", "source_hash", "vae", "weights_hash", "latent"]):
        if row["sample_id"] not in needed and row["source_hash"] not in sources:
            groups.setdefault(f"{row['vae']} {(row['weights_hash'] or '')[:8]}", []).append(row)
    for name, rows in sorted(groups.items()):
        yield _row_item("latents", f"{len(rows):,} of {name}", "of no sample and no kept training set", rows)


def _embeddings(project: Project, kept: _Kept) -> Iterator[Item]:
    store = project.store
    rows = store.read("embeddings", columns=["key", "kind", "encoder_hash", "embedding"])
    if not rows:  # nor need the encoders be there
        return
    needed = {key for row in _members(project, kept, None) for key in pins.embedding_keys(row)}
    needed |= {row["image_key"] for row in store.read("first_frames", columns=["image_key"])}
    captions = {row["caption_key"] for row in store.read("captions", "caption IS NOT NULL", ["caption_key"])}
    for kind in SECTIONS:
        key_of = caption_keys(project.local, text_sources(project.config), kind)
        needed |= {key for caption in captions if (key := key_of(caption)) is not None}
    forming = "image_embeddings" in assets_of(project.config) and any(
        project.states.read("image_embeddings", batch) is None for batch in batches(project.store)
    )
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["key"] not in needed and not (forming and row["kind"] == "image"):
            groups.setdefault(f"{row['kind']} {(row['encoder_hash'] or '')[:8]}", []).append(row)
    for name, found in sorted(groups.items()):
        yield _row_item("embeddings", f"{len(found):,} of {name}", "of no caption and no kept training set", found)


def _members(project: Project, kept: _Kept, columns: list[str] | None) -> list[Row]:
    return project.store.read("training_set_members", one_of("digest", sorted(kept.digests)), columns)


def _row_item(table: str, name: str, reason: str, rows: list[Row]) -> Item:
    """An item for rows that were read with their key first and their blob's descriptor last."""
    first, *_, blob = rows[0]
    sizes = [row[blob]["size"] for row in rows if row[blob] is not None]
    return Item(table, name, reason, sum(sizes), tuple(row[first] for row in rows))


def _files(project: Project, needed: list[Row], kept: _Kept) -> Iterator[Item]:
    """Files of old versions, those too that a pin holds which can move to the newest version."""
    store = project.store
    loose = _loose(project, needed, kept)
    for name in table_names():
        if size := upkeep.leftover_bytes(store, name, [row["tag"] for row in loose]):
            yield Item("files", name, "of old versions, and of writes that were killed", size, ())


def _loose(project: Project, needed: list[Row], kept: _Kept) -> list[Row]:
    """The training sets whose pin may move. Not where an unfinished run reads it: it would not go on with another."""
    return pins.movable(project.store, [row for row in needed if row["digest"] not in kept.unfinished])


def _reclaim(project: Project) -> None:
    store, kept = project.store, _kept(project, runs_in(project))
    needed = store.read("training_sets", one_of("digest", sorted(kept.digests)))
    loose = _loose(project, needed, kept)
    for table in pins.PINNED.values():
        upkeep.drop_deleted(store, table, [row["tag"] for row in loose])
    pins.move(store, [row for row in loose if pins.hold_more(store, row)])
    for name in table_names():
        upkeep.reclaim(store, name)


def _forget_run(project: Project, folder: str) -> None:
    """Delete the rows of a run whose folder is about to go."""
    keys = [row["run_key"] for row in project.store.read("runs", equals("folder", folder), ["run_key"])]
    for table in ("metrics", "runs") if keys else ():
        project.store.delete(table, one_of("run_key", keys))


def _sized(project: Project, folder: str) -> tuple[int, tuple[str]]:
    return folder_bytes(project.local / folder), (folder,)
