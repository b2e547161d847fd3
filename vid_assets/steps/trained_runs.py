"""Every training run of which anything is known: by its folder, or by its row where the folder is gone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vid_assets.config import ConfigError
from vid_assets.project import Project
from vid_assets.steps.run_folders import json_object, run_folders
from vid_assets.store.tables import Row, equals


@dataclass(frozen=True)
class TrainedRun:
    """What is known of one training run.

    Attributes:
        folder: where its checkpoint is, or was.
        there: whether a finished checkpoint is there now.
        weights_hash: None for a run that is not finished.
        parent: {weights_hash, weights} of the checkpoint that it started from, None for fresh or pretrained weights.
        notes: what is missing of its record, in words.
    """

    run_key: str
    stage: str
    experiment: str
    folder: str
    there: bool
    weights_hash: str | None
    digest: str | None
    latents_version: int | None
    vae_weights_hash: str | None
    code_version: str | None
    recipe: dict[str, Any]
    parent: dict[str, str] | None
    notes: tuple[str, ...] = ()

    def started_from(self, other: TrainedRun) -> bool:
        """Whether this run started from the weights of `other`."""
        return self.parent is not None and self.parent["weights_hash"] == other.weights_hash


def run_named(project: Project, what: str) -> TrainedRun | None:
    """The run that `what` means.

    It is a folder, `checkpoint/STAGE[EXPERIMENT]`, or the beginning of a run key or of a weights hash. None where it
    means none; raises `ConfigError` where it means several.
    """
    path = Path(what)
    if any((path / name).is_file() for name in ("checkpoint.json", "final/checkpoint.json", "manifest.json")):
        return _from_folder(project, (path.parent if path.name == "final" else path).resolve())
    if asset := re.fullmatch(r"(?:checkpoint/)?(\w+)\[(\w+)\]", what.strip()):
        state = project.states.read(f"checkpoint/{asset[1]}", asset[2])
        if state is None:
            raise ConfigError(f"{what}: checkpoint/{asset[1]} [{asset[2]}] is not finished")
        return _from_folder(project, (project.local / state.facts["folder"]).parent)
    if len(what) < 4:
        return None
    found = [run for run in trained_runs(project) if any(_begins(one, what) for one in (run.run_key, run.weights_hash))]
    found = [run for run in found if "-before-" not in run.run_key] or found
    if len(found) > 1:
        listed = "; ".join(f"{run.run_key} ({run.folder})" for run in found[:10])
        raise ConfigError(f"{what} means {len(found)} runs; name one of them: {listed}")
    return found[0] if found else None


def _begins(name: str | None, text: str) -> bool:
    return name is not None and name.startswith(text)


def trained_runs(project: Project) -> list[TrainedRun]:
    """Every run that a folder of the home or a row of `runs` knows."""
    found = {run.folder: _from_folder(project, project.local / run.folder) for run in run_folders(project)}
    for row in project.store.read("runs"):
        if row["folder"] not in found:
            found[row["folder"]] = _from_row(row)
    return list(found.values())


def _from_row(row: Row) -> TrainedRun:
    return TrainedRun(
        row["run_key"],
        row["stage"],
        row["experiment"],
        row["folder"],
        False,
        row["weights_hash"],
        row["digest"],
        row["latents_version"],
        row["vae_weights_hash"],
        None,
        json.loads(row["recipe"] or "{}"),
        {"weights_hash": row["parent"]} if row["parent"] else None,
        ("its folder is gone; this is what the table `runs` keeps",),
    )


def _from_folder(project: Project, folder: Path) -> TrainedRun:
    manifest, record = json_object(folder / "manifest.json"), json_object(folder / "final" / "checkpoint.json")
    record = record or json_object(folder / "checkpoint.json")  # one that was copied out of its run's folder
    training_set, key = manifest.get("training_set", {}), folder.name
    notes: tuple[str, ...] = () if record else ("it is not finished",)
    if record and not project.store.count("runs", equals("run_key", key.partition("-before-")[0])):
        notes += ("the table `runs` has no row of it; this is what its folder says",)
    inside = folder.is_relative_to(project.local)
    return TrainedRun(
        key,
        record.get("stage") or manifest.get("stage") or folder.parent.name,
        record.get("experiment") or manifest.get("experiment") or folder.parent.parent.name,
        str(folder.relative_to(project.local)) if inside else str(folder),
        bool(record),
        record.get("weights_hash"),
        record.get("training_set_digest") or training_set.get("digest"),
        record.get("latents_version") or training_set.get("latents_version"),
        record.get("vae_weights_hash") or manifest.get("vae", {}).get("weights_hash"),
        record.get("train_code_version") or manifest.get("code_version"),
        record.get("recipe") or manifest.get("recipe") or {},
        record.get("parent") or manifest.get("parent"),
        notes,
    )


def chain(project: Project, run: TrainedRun) -> list[TrainedRun]:
    """The run, and those that it started from, back to the first of which anything is known."""
    everything, found = trained_runs(project), [run]
    while (parent := found[-1].parent) is not None:
        known = [one for one in everything if found[-1].started_from(one) and one not in found]
        known.sort(key=lambda one: (str(project.local / one.folder / "final") != parent.get("folder"), one.folder))
        if not known:
            break
        found.append(known[0])
    return found


def described(run: TrainedRun) -> dict[str, Any]:
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
