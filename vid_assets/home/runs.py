"""The training runs of a home: by their folders below `checkpoints/<experiment>/<stage>/`, and by their rows.

Belongs here: what a run is, which one is meant, and how runs descend from one another. What keeps them is `prune`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vid_assets.assets.train.facts import Trained
from vid_assets.assets.train.names import CHECKPOINT
from vid_assets.project import Project
from vid_assets.section import ConfigError
from vid_assets.store.place import files_at, is_remote
from vid_assets.store.state import is_locked
from vid_assets.store.tables import Row, equals


@dataclass(frozen=True)
class Run:
    """What is known of one training run.

    Attributes:
        folder: where its checkpoint is or was, below the home, or an absolute path.
        aside: it was moved aside when the same run was made again by force, or is what a kill left of a deletion.
        there: a finished checkpoint is there now.
        weights_hash: of its finished checkpoint; None for a run that is not finished.
        digest: of its training set.
        parent: {weights_hash, weights} of the checkpoint that it started from, None for fresh or pretrained weights.
        lock: the file that a process which trains there holds; None: the run has no folder.
        notes: what is missing of its record, in words.
    """

    run_key: str
    stage: str
    experiment: str
    folder: str
    there: bool
    weights_hash: str | None
    digest: str | None
    vae_weights_hash: str | None
    code_version: str | None
    recipe: dict[str, Any] = field(repr=False)
    parent: dict[str, str] | None
    aside: bool = False
    lock: Path | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a process trains there now. To ask takes a folder that can be written in."""
        return self.lock is not None and self.lock.exists() and is_locked(self.lock)

    def started_from(self, other: Run) -> bool:
        """Whether this run started from the weights of `other`."""
        return self.parent is not None and self.parent["weights_hash"] == other.weights_hash

    def leftovers(self, home: Path) -> list[str]:
        """Folders inside that are no part of the run: final checkpoints found damaged, and what a kill left."""
        if self.busy:
            return []
        found = [path for what in ("damaged-*", ".tmp-*") for path in (home / self.folder).glob(what)]
        return [str(path.relative_to(home)) for path in sorted(found)]


def runs_in(project: Project) -> list[Run]:
    """The runs that have a folder in the home, in order of path."""
    return [_from_folder(project.local, path) for path in sorted((project.local / "checkpoints").glob("*/*/*/"))]


def known_runs(project: Project) -> list[Run]:
    """Every run of which anything is known: by its folder, or by its row where the folder is gone."""
    found = {run.folder: _noted(project, run) for run in runs_in(project)}
    for row in project.store.read("runs"):
        if row["folder"] not in found:
            found[row["folder"]] = _from_row(row)
    return list(found.values())


def run_named(project: Project, what: str) -> Run | None:
    """The run that `what` means.

    It is a folder, `checkpoint/STAGE[EXPERIMENT]`, or the beginning of a run key or of a weights hash. None where it
    means none; raises `ConfigError` where it means several.
    """
    path = Path(what)
    if any((path / name).is_file() for name in ("checkpoint.json", "final/checkpoint.json", "manifest.json")):
        return _noted(project, _from_folder(project.local, (path.parent if path.name == "final" else path).resolve()))
    if asset := re.fullmatch(rf"(?:{CHECKPOINT}/)?(\w+)\[(\w+)\]", what.strip()):
        state = project.states.read(f"{CHECKPOINT}/{asset[1]}", asset[2])
        if state is None:
            raise ConfigError(f"{what}: {CHECKPOINT}/{asset[1]} [{asset[2]}] is not finished")
        folder = (project.local / Trained.read(state.facts).folder).parent
        return _noted(project, _from_folder(project.local, folder))
    if len(what) < 4:
        return None
    found = [run for run in known_runs(project) if any(_begins(one, what) for one in (run.run_key, run.weights_hash))]
    found = [run for run in found if not run.aside] or found
    if len(found) > 1:
        listed = "; ".join(f"{run.run_key} ({run.folder})" for run in found[:10])
        raise ConfigError(f"{what} means {len(found)} runs; name one of them: {listed}")
    return found[0] if found else None


def _begins(name: str | None, text: str) -> bool:
    return name is not None and name.startswith(text)


def _from_folder(local: Path, folder: Path) -> Run:
    manifest, record = _json_object(folder / "manifest.json"), _json_object(folder / "final" / "checkpoint.json")
    record = record or _json_object(folder / "checkpoint.json")  # one that was copied out of its run's folder
    return Run(
        folder.name,
        record.get("stage") or manifest.get("stage") or folder.parent.name,
        record.get("experiment") or manifest.get("experiment") or folder.parent.parent.name,
        str(folder.relative_to(local)) if folder.is_relative_to(local) else str(folder),
        bool(record),
        record.get("weights_hash"),
        record.get("training_set_digest") or manifest.get("training_set", {}).get("digest"),
        record.get("vae_weights_hash") or manifest.get("vae", {}).get("weights_hash"),
        record.get("train_code_version") or manifest.get("code_version"),
        record.get("recipe") or manifest.get("recipe") or {},
        record.get("parent") or manifest.get("parent"),
        aside="-before-" in folder.name or folder.name.startswith("."),
        lock=folder / ".lock",
        notes=() if record else ("it is not finished",),
    )


def _noted(project: Project, run: Run) -> Run:
    """The run, with a note where it is finished and the table `runs` does not know it."""
    if not run.there or project.store.count("runs", equals("run_key", run.run_key.partition("-before-")[0])):
        return run
    note = "the table `runs` has no row of it; this is what its folder says"
    return replace(run, notes=(*run.notes, note))


def _from_row(row: Row) -> Run:
    return Run(
        row["run_key"],
        row["stage"],
        row["experiment"],
        row["folder"],
        False,
        row["weights_hash"],
        row["digest"],
        row["vae_weights_hash"],
        None,
        json.loads(row["recipe"] or "{}"),
        {"weights_hash": row["parent"]} if row["parent"] else None,
        notes=("its folder is gone; this is what the table `runs` keeps",),
    )


def _json_object(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def with_ancestors(chosen: Iterable[Run], runs: Sequence[Run]) -> list[Run]:
    """`chosen`, and all of `runs` that they started from, over any number of stages."""
    found = list(chosen)
    for run in found:  # grows: a parent may have a parent
        found += [one for one in runs if run.started_from(one) and one not in found]
    return found


def with_descendants(chosen: Iterable[Run], runs: Sequence[Run]) -> list[tuple[Run, Run | None]]:
    """`chosen`, and all of `runs` that started from them; each with the run through which it did, None for `chosen`."""
    found: list[tuple[Run, Run | None]] = [(run, None) for run in chosen]
    for run, _ in found:  # grows: a child may have children
        known = {one.folder for one, _ in found}
        found += [(one, run) for one in runs if one.started_from(run) and one.folder not in known]
    return found


def chain(project: Project, run: Run) -> list[Run]:
    """The run, and those that it started from, back to the first of which anything is known."""
    everything, found = known_runs(project), [run]
    while (parent := found[-1].parent) is not None:
        known = [one for one in everything if found[-1].started_from(one) and one not in found]
        known.sort(key=lambda one: (str(project.local / one.folder / "final") != parent.get("folder"), one.folder))
        if not known:
            break
        found.append(known[0])
    return found


def described(run: Run) -> dict[str, Any]:
    """A run, without its data, as JSON holds it."""
    pretrained = run.recipe.get("weights")
    start: dict[str, Any] = {"from": "fresh weights", "seed": run.recipe.get("seed")}
    if run.parent:
        start = {"from": "checkpoint", **{key: value for key, value in run.parent.items() if key != "folder"}}
    elif pretrained:
        start = {"from": "pretrained weights", "weights_hash": pretrained["weights_hash"]}
    return {
        "run_key": run.run_key,
        "stage": run.stage,
        "experiment": run.experiment,
        "folder": run.folder,
        "there": run.there,
        "weights_hash": run.weights_hash,
        "start": start,
        "vae_weights_hash": run.vae_weights_hash,
        "code_version": run.code_version,
        "recipe": run.recipe,
    }


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_of_home(project: Project) -> int:
    """The size of everything in the home, its local folder included."""
    found = folder_bytes(project.local)
    return found + sum(files_at(project.home).sizes().values()) if is_remote(project.home) else found
