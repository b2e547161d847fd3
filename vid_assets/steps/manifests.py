"""The training manifest: what the configuration, the training set and the VAE come to for one run.

`model` trains from it and knows nothing else. A run is named by a hash of what of its manifest decides what is learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.manifest import FORMAT, TRAIN_CODE_VERSION, identity
from model.presets import PRESETS
from model.vae_folder import normalisation
from vid_assets.config import Experiment
from vid_assets.project import Project
from vid_assets.steps.pins import pinned_row
from vid_assets.steps.plan import policy_for
from vid_assets.steps.vae import weights_of
from vid_assets.store.state import digest

#: What of the section `train` a run is told.
_OF_TRAIN = {
    "device", "threads", "workers", "processes", "engine", "keep_last", "validate_every", "dry_run", "tensorboard",
}  # fmt: skip


class TrainingError(RuntimeError):
    """A training run cannot start, or did not end with a checkpoint."""


def manifest(project: Project, stage: str, experiment: str, activation: str | None = None) -> dict[str, Any]:
    """Everything a training run needs to know, without the folder that it writes to, as JSON holds it.

    Args:
        activation: the policy of activation checkpointing; None: the run's own, for which memory may be planned.

    Raises:
        DoesNotFitError: `activation` is None, and no policy fits the memory that is declared.
    """
    config, recipe = project.config, project.config.experiments[experiment]
    section = config.stage(stage)
    previous = config.previous_stage(stage)
    vae = weights_of(project, config.vae)
    document = {
        "format": FORMAT,
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
            **recipe.settings,
            **section.settings,
            "family": PRESETS[recipe.model].family,
            "weights": pretrained(project, recipe) if previous is None else None,
        },
        "runtime": {
            **config.train.model_dump(include=_OF_TRAIN),
            "checkpoint_every": section.checkpoint_every,
            "micro_batch": section.micro_batch,
            "activation": activation or policy_for(project, stage, experiment),
        },
        "parent": _parent(project, previous.name, experiment, section.start_from) if previous else None,
        "code_version": TRAIN_CODE_VERSION,
    }
    return json.loads(json.dumps(document))


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


def pretrained(project: Project, recipe: Experiment) -> dict[str, str] | None:
    """The weights that the first stage of a recipe starts from; None for fresh ones."""
    if recipe.weights is None:
        return None
    found = weights_of(project, recipe.weights)
    return {"folder": str(found.folder), "weights_hash": found.hash}


def _parent(project: Project, stage: str, experiment: str, weights: str) -> dict[str, str]:
    folder = final_folder(project, stage, experiment)
    return {"folder": str(folder), "weights_hash": read_record(folder)["weights_hash"], "weights": weights}


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
