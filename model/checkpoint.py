"""Folders that are either whole or not there, the step folders of a training run, and the record of a finished one.

What a step folder holds is `model.training.run_state`'s; here is how it is written at once, found again, and removed.
No torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import ModelError
from model.recipe import Denoiser, Parent

_TEMPORARY = ".tmp-"
_RECORD = "checkpoint.json"


class CheckpointError(ModelError):
    """A checkpoint cannot be used; the message names the folder and what is wrong."""


class Record(BaseModel):
    """`checkpoint.json` of a finished checkpoint: what it was made of, and how it went.

    Attributes:
        identity: of its manifest, as `model.manifest.identity` gives it.
        recipe: whole, as it was trained by; see `denoiser`.
        latents_version: of the table of latents.
        weights_hash: of its weights, both the average and the raw ones.
        summary: see `model.training.finish.save_final`.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    identity: dict[str, Any]
    experiment: str
    stage: str
    recipe: dict[str, Any]
    runtime: dict[str, Any]
    code_version: str
    train_code_version: str
    training_set_digest: str
    latents_version: int
    vae_weights_hash: str
    parent: Parent | None
    weights_hash: str
    summary: dict[str, Any]

    def denoiser(self) -> Denoiser:
        """Which denoiser it is. Raises `CheckpointError` where this release has no such model, family or objective."""
        try:
            return Denoiser.model_validate(self.recipe)
        except ValidationError as error:
            raise CheckpointError(f"{self.experiment}/{self.stage}: cannot be read: recipe.{_first(error)}") from None

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint."""
        write_json(folder / _RECORD, self.model_dump(mode="json", exclude_unset=True))


def read_record(folder: str | Path) -> Record:
    """The record of the finished checkpoint in `folder`. Raises `CheckpointError` where there is none."""
    path = Path(folder) / _RECORD
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{folder}: no finished checkpoint: {path.name}: {error.strerror}") from None
    except ValidationError as error:
        raise CheckpointError(f"{folder}: no finished checkpoint: {path.name}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """What is wrong first, and where."""
    wrong = error.errors()[0]
    return f"{'.'.join(map(str, wrong['loc']))} {wrong['msg']}"


@contextlib.contextmanager
def atomic_folder(folder: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary sibling of `folder` to write in; it takes the name `folder` at the end, when all is on the disk.

    After a crash at any moment `folder` is as it was before, or new and whole, or, where an old one is being replaced,
    not there. An error inside leaves no trace.

    Raises:
        CheckpointError: `folder` exists and `replace` is False.
    """
    folder = Path(folder)
    if folder.exists() and not replace:
        raise CheckpointError(f"{folder}: already exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f"{_TEMPORARY}{folder.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        if folder.exists():
            # A folder cannot be exchanged in one step: the old one steps aside and is swept up by the next `clean`.
            aside = folder.parent / f"{_TEMPORARY}old-{uuid.uuid4().hex[:8]}"
            os.rename(folder, aside)
            os.rename(temporary, folder)
            shutil.rmtree(aside)
        else:
            os.rename(temporary, folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def exclusive(folder: str | Path, patience_s: float = 30.0) -> Iterator[None]:
    """Hold `folder` against other processes; the lock ends with the process that holds it, however that ends.

    Waits up to `patience_s` seconds, in which a run that lost its parent finishes its step.
    """
    deadline = time.monotonic() + patience_s
    with open(Path(folder) / ".lock", "a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CheckpointError(f"{folder}: another process is training here") from None
                time.sleep(0.2)
        yield


def clean(folder: str | Path) -> None:
    """Remove what a killed writer left in `folder`. Only for the one process that writes there."""
    for path in Path(folder).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def step_folder(output: str | Path, step: int) -> Path:
    """Where the state after `step` steps is kept."""
    return Path(output) / f"step-{step:08d}"


def step_folders(output: str | Path) -> list[Path]:
    """The step folders of a run that are whole, oldest first."""
    return [path for path in sorted(Path(output).glob("step-*")) if _is_whole(path)]


def latest(output: str | Path) -> Path | None:
    """The newest whole step folder of a run, None when there is none."""
    folders = step_folders(output)
    return folders[-1] if folders else None


def keep(output: str | Path, newest: int, best: int | None = None) -> None:
    """Remove all step folders but the `newest` whole ones, and the one of step `best`; damaged ones go."""
    kept = set(step_folders(output)[-newest:])
    if best is not None:
        kept.add(step_folder(output, best))
    for path in sorted(set(Path(output).glob("step-*")) - kept):
        # renamed first, so that a kill in the middle leaves no half folder with a good name
        doomed = path.parent / f"{_TEMPORARY}old-{uuid.uuid4().hex[:8]}"
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the JSON part of a step folder, last: its key `bytes` records the sizes of the other files."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    write_json(folder / "state.json", {**state, "bytes": sizes})


def read_state(folder: str | Path) -> dict[str, Any]:
    """The JSON part of a step folder."""
    return json.loads((Path(folder) / "state.json").read_text(encoding="utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys; a value that is not finite is an error."""
    Path(path).write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    """Whether all files are there, and have the size that was written. A name alone proves nothing."""
    try:
        sizes = read_state(folder)["bytes"]
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            _sync(Path(root) / name)
        _sync(Path(root))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
