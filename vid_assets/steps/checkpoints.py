"""`checkpoint/<stage>`: write the manifest of a training run, let a child process train, keep what it used.

A run's folder is named by everything that decides what is learned, so that an interrupted run is found again and
goes on, and a changed recipe never mixes with an older run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.manifest import TRAIN_CODE_VERSION, identity
from model.vae_folder import normalisation
from model.weights import checkpoint_hash
from vid_assets.project import Project
from vid_assets.steps.pins import pinned_row
from vid_assets.steps.vae import weights_of
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest

Progress = Callable[[str], None]
#: What a stage of the curriculum adds to the recipe of its experiment.
_OF_STAGE = {"steps", "batch_size", "lr", "warmup_steps", "grad_clip", "ema_decay", "image_share", "share_unit"}
#: Starts the command and waits for it; raises when it fails.
Launch = Callable[[list[str]], None]


class TrainingError(RuntimeError):
    """A training run cannot start, or did not end with a checkpoint."""


def manifest(project: Project, stage: str, experiment: str) -> dict[str, Any]:
    """Everything a training run needs to know, without the folder that it writes to."""
    config, recipe = project.config, project.config.experiments[experiment]
    section = config.stage(stage)
    previous = config.previous_stage(stage)
    vae = weights_of(project, config.vae)
    return {
        "format": 1,
        "experiment": experiment,
        "stage": stage,
        "training_set": training_set_spec(project, stage),
        "vae": {
            "family": config.vae.family,
            "path": str(vae.folder),
            "weights_hash": vae.hash,
            "normalisation": normalisation(vae.folder, config.vae.family).as_dict(),
        },
        "recipe": {
            "model": recipe.model,
            "objective": recipe.objective.model_dump(),
            "seed": recipe.seed,
            "caption_dropout": recipe.caption_dropout,
            "weight_decay": recipe.weight_decay,
            **section.model_dump(include=_OF_STAGE),
        },
        "runtime": {
            "device": config.train.device,
            "threads": config.train.threads,
            "checkpoint_every": section.checkpoint_every,
            "workers": config.train.workers,
        },
        "parent": _parent(project, previous.name, experiment, section.start_from) if previous else None,
        "code_version": TRAIN_CODE_VERSION,
    }


def training_set_spec(project: Project, stage: str) -> dict[str, Any]:
    """The stage's training set as `model` reads it: uris, pinned versions and the digest."""
    state = project.states.read(f"training_set/{stage}", None)
    row = pinned_row(project, state.data_version) if state else None
    if row is None:
        raise TrainingError(f"training_set/{stage} is not finished; materialize it first")
    store, config = project.store, project.config
    embedded = bool(config.text_encoder or config.pooled_text_encoder or config.image_encoder)
    return {
        "digest": row["digest"],
        "latents_uri": store.table_uri("latents"),
        "latents_version": row["latents_version"],
        "members_uri": store.table_uri("training_set_members"),
        "members_version": row["members_version"],
        "embeddings_uri": store.table_uri("embeddings") if embedded else None,
        "embeddings_version": row["embeddings_version"] if embedded else None,
    }


def _parent(project: Project, stage: str, experiment: str, weights: str) -> dict[str, str]:
    folder = final_folder(project, stage, experiment)
    record = read_record(folder)
    return {"folder": str(folder), "weights_hash": record["weights_hash"], "weights": weights}


def run_key(document: dict[str, Any]) -> str:
    """Name of a run: a hash of what of its manifest decides what is learned."""
    return digest(identity(document))[:16]


def final_folder(project: Project, stage: str, experiment: str) -> Path:
    """The folder of the finished checkpoint of a stage. Raises `TrainingError` where there is none."""
    state = project.states.read(f"checkpoint/{stage}", experiment)
    if state is None:
        raise TrainingError(f"checkpoint/{stage} [{experiment}] is not finished; materialize it first")
    return Path(project.local, state.facts["folder"])


def read_record(folder: Path) -> dict[str, Any]:
    """`checkpoint.json` of a finished checkpoint."""
    try:
        return json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise TrainingError(f"{folder} holds no whole checkpoint: {error}") from error


def checkpoint(
    project: Project,
    stage: str,
    experiment: str,
    launch: Launch,
    force: bool = False,
    progress: Progress = print,
    dagster_run_id: str | None = None,
    report: str | None = None,
    parent_pid: int | None = None,
) -> Output:
    """Train a stage to its end, going on from where an interrupted run of the same manifest stopped."""
    document = manifest(project, stage, experiment)
    key = run_key(document)
    folder = project.folder("checkpoints", experiment, stage) / key
    final = folder / "final"
    if force and folder.exists():
        aside = folder.with_name(f"{key}-before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        folder.rename(aside)
        progress(f"forced: the earlier run was moved to {aside}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    path.write_text(json.dumps(document | {"output": str(folder)}, indent=1), encoding="utf-8")
    trained = not final.exists()
    if not trained and (fault := _fault(final)):
        aside = final.with_name(f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        final.rename(aside)
        progress(f"{final} {fault}; it was moved to {aside}, and is trained again from the last saved step")
        trained = True
    if trained:
        command = [sys.executable, "-m", "model.train", "--manifest", str(path)]
        command += ["--report", report] if report else []
        command += ["--parent-pid", str(parent_pid)] if parent_pid else []
        launch(command)
    record = read_record(final)
    losses = [float(loss) for loss in json.loads((final / "losses.json").read_text(encoding="utf-8"))]
    _keep_run(project, key, document, record, folder, dagster_run_id, losses)
    tail = losses[-max(1, len(losses) // 10) :]
    return Output(
        record["weights_hash"],
        _files_digest(final, record["weights_hash"]),
        rows=len(losses),
        computed=len(losses) if trained else 0,
        cached=0 if trained else len(losses),
        facts={
            "folder": str(final.relative_to(project.local)),
            "run key": key,
            "steps": len(losses),
            "first loss": losses[0],
            "last loss": losses[-1],
            "mean loss of the last tenth": sum(tail) / len(tail),
            "training set": document["training_set"]["digest"],
            "latents version": document["training_set"]["latents_version"],
            "vae weights": document["vae"]["weights_hash"],
            "latents read": _route(record["summary"]["read_through_lance"]),
            "parent weights": (document["parent"] or {}).get("weights_hash", "none"),
            "bytes": sum(file.stat().st_size for file in final.rglob("*") if file.is_file()),
        },
    )


def _route(through_lance: str | None) -> str:
    """How the loader got at the bytes of latents."""
    return f"through Lance: {through_lance}" if through_lance else "from a memory map"


def _keep_run(
    project: Project,
    key: str,
    document: dict[str, Any],
    record: dict[str, Any],
    folder: Path,
    dagster_run_id: str | None,
    losses: list[float],
) -> None:
    row = {
        "run_key": key,
        "experiment": document["experiment"],
        "stage": document["stage"],
        "digest": document["training_set"]["digest"],
        "latents_version": document["training_set"]["latents_version"],
        "vae_weights_hash": document["vae"]["weights_hash"],
        "parent": (document["parent"] or {}).get("weights_hash"),
        "recipe": json.dumps(document["recipe"], sort_keys=True),
        "folder": str(folder.relative_to(project.local)),
        "weights_hash": record["weights_hash"],
        "dagster_run_id": dagster_run_id,
        "created_at": datetime.now(UTC),
    }
    project.store.upsert("runs", [row])
    project.store.upsert(
        "metrics",
        [
            {"metric_id": f"{key}/loss/{step:08d}", "run_key": key, "name": "loss", "step": step, "value": loss}
            for step, loss in enumerate(losses, 1)
        ],
    )


def _fault(final: Path) -> str | None:
    """What is wrong with a finished checkpoint: its weights are read and hashed; None where it is whole."""
    try:
        if checkpoint_hash(final) != read_record(final)["weights_hash"]:
            return "does not hold the weights that it names"
        json.loads((final / "losses.json").read_text(encoding="utf-8"))
    except (TrainingError, ModelError, OSError, ValueError, KeyError) as error:
        return f"is not whole ({error})"
    return None


def _files_digest(final: Path, weights_hash: str) -> str:
    """Digest of a finished checkpoint: its weights' hash, and the names and sizes of its files."""
    files = sorted((str(file.relative_to(final)), file.stat().st_size) for file in final.rglob("*") if file.is_file())
    return digest([weights_hash, files])


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the checkpoint's folder, None where it is gone."""
    final = Path(project.local, state.facts["folder"])
    try:
        return _files_digest(final, read_record(final)["weights_hash"])
    except (TrainingError, KeyError):
        return None
