"""The training manifest: what the configuration, the training set and the VAE come to for one run.

`model` trains from it and knows nothing else. A run is named by a hash of what of its manifest decides what is learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.checkpoint import read_record
from model.denoisers import PRESETS
from model.errors import UserError
from model.manifest import FORMAT, TRAIN_CODE_VERSION, identity
from model.recipe import Runtime, StageRuntime
from model.vaes import normalisation
from vid_assets.assets.asset import Work
from vid_assets.assets.encode.text_embeddings import text_sources
from vid_assets.assets.train.conditioning import of_sample
from vid_assets.assets.train.facts import Trained
from vid_assets.assets.train.memory_plan import Setup, policy_for
from vid_assets.assets.train.names import CHECKPOINT, TRAINING_SET
from vid_assets.assets.weights import location, weights_of
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.store.pins import pinned_row


class NoCheckpointError(UserError, RuntimeError):
    """A checkpoint or a training set that a run would start from is not there, or not whole."""


def training_runtime(config: Config, stage: str, experiment: str) -> dict[str, Any]:
    """What a manifest says beside the recipe: how the run is carried out, and where lies what the inputs name."""
    setup = Setup.of(config, stage, experiment)
    weights = config.experiments[experiment].weights
    how = config.stage(stage).model_dump(include=set(StageRuntime.model_fields))
    return samples_runtime(config, stage) | {
        "setup": setup,
        "run": config.train.model_dump(include=set(Runtime.model_fields)) | how,
        "pretrained": location(weights) if weights and not config.previous_stage(stage) else None,
    }


def samples_runtime(config: Config, stage: str) -> dict[str, Any]:
    """Where lies what a checkpoint is trained and measured on: the inputs name it by its content."""
    previous = config.previous_stage(stage)
    return {
        "stage": stage,
        "previous": previous.name if previous else None,
        "vae": location(config.vae),
        "vae family": config.vae.family,  # another one than that of the weights is refused
        "embedded": bool(text_sources(config) or of_sample(config)),
    }


def manifest(work: Work) -> dict[str, Any]:
    """Everything a training run needs to know, without the folder that it writes to, as JSON holds it.

    The recipe is what entered the fingerprint of `work`, a checkpoint's. Raises `DoesNotFitError` where no policy of
    activation checkpointing fits the memory that is declared.
    """
    stage, recipe = work.runtime["stage"], work.config[f"experiments.{work.experiment}"]
    decided = dict(work.config[f"stages.{stage}"])
    start = decided.pop("start_from", None)
    document = {
        "format": FORMAT,
        "experiment": work.experiment,
        "stage": stage,
        "training_set": training_set_spec(work),
        "vae": vae_spec(work),
        "recipe": {
            **recipe,
            **decided,
            "family": PRESETS[recipe["model"]].family,
            "weights": pretrained(work),
        },
        "runtime": {**work.runtime["run"], "activation": policy_for(work.folder("plans"), work.runtime["setup"])},
        "parent": _parent(work, start) if start else None,
        "code_version": TRAIN_CODE_VERSION,
    }
    return json.loads(json.dumps(document))


def training_set_spec(work: Work) -> dict[str, Any]:
    """The stage's training set as `model` reads it: uris, pinned versions and the digest."""
    name = f"{TRAINING_SET}/{work.runtime['stage']}"
    state = work.state(name)
    row = pinned_row(work.store, state.data_version) if state else None
    if row is None:
        raise NoCheckpointError(f"{name} is not finished; materialize it first")
    embedded = work.runtime["embedded"]
    return {
        "digest": row["digest"],
        "latents_uri": work.store.table_uri("latents"),
        "latents_version": row["latents_version"],
        "members_uri": work.store.table_uri("training_set_members"),
        "members_version": row["members_version"],
        "embeddings_uri": work.store.table_uri("embeddings") if embedded else None,
        "embeddings_version": row["embeddings_version"] if embedded else None,
    }


def vae_spec(work: Work) -> dict[str, Any]:
    """The VAE that the latents were made with, as `model` reads it."""
    vae, family = weights_of(work.local, work.runtime["vae"]), work.runtime["vae family"]
    return {
        "family": family,
        "path": str(vae.folder),
        "weights_hash": vae.hash,
        "normalisation": normalisation(vae.folder, family).as_dict(),
    }


def pretrained(work: Work) -> dict[str, str] | None:
    """The weights that the first stage of a recipe starts from; None for fresh ones."""
    if work.runtime["pretrained"] is None:
        return None
    found = weights_of(work.local, work.runtime["pretrained"])
    return {"folder": str(found.folder), "weights_hash": found.hash}


def _parent(work: Work, weights: str) -> dict[str, str]:
    folder = final_folder(work, work.runtime["previous"])
    return {"folder": str(folder), "weights_hash": read_record(folder).weights_hash, "weights": weights}


def run_key(document: dict[str, Any]) -> str:
    """Name of a run: a hash of what of its manifest decides what is learned."""
    return digest(identity(document))[:16]


def final_folder(work: Work, stage: str) -> Path:
    """The folder of the finished checkpoint of a stage. Raises `NoCheckpointError` where there is none."""
    state = work.state(f"{CHECKPOINT}/{stage}", work.experiment)
    if state is None:
        raise NoCheckpointError(f"{CHECKPOINT}/{stage} [{work.experiment}] is not finished; materialize it first")
    return work.local / Trained.read(state.facts).folder
