"""The folders of training runs below `checkpoints/<experiment>/<stage>/`: what each one is, and what it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vid_assets.project import Project
from vid_assets.store.place import files_at, is_remote
from vid_assets.store.state import is_locked


@dataclass(frozen=True)
class Run:
    """One run's folder, by its path below the home.

    Attributes:
        aside: it was moved aside when the same run was made again by force, or is what a kill left of a deletion.
        finished: it holds a final checkpoint, whose weights have the hash `weights_hash`.
        parent: the hash of the weights that it started from, None for fresh ones.
        digest: that of its training set.
        busy: a process trains there now.
    """

    folder: str
    experiment: str
    stage: str
    aside: bool
    finished: bool
    weights_hash: str | None
    parent: str | None
    digest: str | None
    busy: bool

    def leftovers(self, home: Path) -> list[str]:
        """Folders inside that are no part of the run: final checkpoints found damaged, and what a kill left."""
        if self.busy:
            return []
        found = [path for what in ("damaged-*", ".tmp-*") for path in (home / self.folder).glob(what)]
        return [str(path.relative_to(home)) for path in sorted(found)]


def run_folders(project: Project) -> list[Run]:
    """Every run folder of the home, in order of path."""
    root = project.local
    return [_run(root, path) for path in sorted((root / "checkpoints").glob("*/*/*/"))]


def _run(root: Path, path: Path) -> Run:
    manifest, record = json_object(path / "manifest.json"), json_object(path / "final" / "checkpoint.json")
    lock = path / ".lock"
    return Run(
        folder=str(path.relative_to(root)),
        experiment=path.parent.parent.name,
        stage=path.parent.name,
        aside="-before-" in path.name or path.name.startswith("."),
        finished="weights_hash" in record,
        weights_hash=record.get("weights_hash"),
        parent=(manifest.get("parent") or {}).get("weights_hash"),
        digest=(manifest.get("training_set") or {}).get("digest"),
        busy=lock.exists() and is_locked(lock),
    )


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_of_home(project: Project) -> int:
    """The size of everything in the home, its local folder included."""
    found = folder_bytes(project.local)
    return found + sum(files_at(project.home).sizes().values()) if is_remote(project.home) else found
