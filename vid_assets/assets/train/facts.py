"""What checkpoints and evaluations found, typed; labels are for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vid_assets.assets.facts import Facts, fact


@dataclass(frozen=True)
class Trained(Facts):
    """How a training run went, and what it used. Losses are means; memory is in bytes."""

    folder: str = fact("folder")  # of the finished checkpoint, below the home
    run_key: str = fact("run key")
    steps: int = fact("steps")
    first_loss: float = fact("first loss")
    last_loss: float = fact("last loss")
    tail_loss: float = fact("mean loss of the last tenth")
    heldout_start: float | None = fact("held-out loss at the start")
    heldout: float | None = fact("held-out loss")
    best: dict[str, Any] | None = fact("best held-out loss")
    step_seconds: float | None = fact("seconds a step, median")
    samples: dict[str, int] = fact("samples")
    rate: dict[str, float] | None = fact("samples a second")
    data_wait_share: float | None = fact("share of time waiting for data")
    memory_bytes: int = fact("peak memory, bytes")
    processes: int = fact("processes")
    device: str = fact("device")
    parameters: int = fact("parameters")
    trained_parameters: int = fact("parameters that were trained")
    recomputed: dict[str, list[int]] = fact("recomputed")
    latents_read: str = fact("latents read")
    resumed_from: int | None = fact("resumed from step")
    memory_plan: str = fact("memory plan")
    objective: dict[str, Any] = fact("objective")
    training_set: str = fact("training set")
    latents_version: int = fact("latents version")
    vae_weights: str = fact("vae weights")
    pretrained_weights: str = fact("pretrained weights")
    parent_weights: str = fact("parent weights")
    weights: str = fact("weights")
    bytes: int = fact("bytes")


@dataclass(frozen=True)
class Measured(Facts):
    """What is measured of a checkpoint; losses are squared errors, motion is as of `model.evaluation.motion`."""

    heldout_loss: float | None = fact("held-out loss")
    by_time: dict[str, float] | None = fact("held-out loss by time")
    by_bucket: dict[str, float] | None = fact("held-out loss by bucket")
    motion: float | None = fact("motion")
    motion_ratio: float | None = fact("motion, over the data's")


@dataclass(frozen=True)
class Evaluated(Measured):
    """What an evaluation found of its checkpoint, and of those that it is compared with."""

    folder: str = fact("folder")  # of its files, below the home
    checkpoint: str = fact("checkpoint")
    objective: dict[str, Any] = fact("objective")
    measured_on: str = fact("measured on")
    heldout_samples: int = fact("held-out samples")
    data_motion: float | None = fact("motion of the data")
    compared_with: dict[str, dict[str, Any]] = fact("compared with")
    notes: list[str] = fact("notes")
    vae_note: str = fact("vae note")
    generated: int = fact("generated")
    bytes: int = fact("bytes")
