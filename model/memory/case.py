"""What a plan of memory is of, and what it says: plain values, without torch. `model.memory.plan` makes plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.denoisers import preset
from model.vaes import latent_space

#: Bump by hand when a plan of the same case would come out otherwise.
PLAN_CODE_VERSION = "1"

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Case:
    """One forward and backward pass of a training run: all that its memory depends on, but the activation policy.

    Attributes:
        preset: key of `model.denoisers.PRESETS`.
        shape: (frames, height, width) of a latent.
        samples: in one pass; the micro batch.
        text_tokens: of the longest text; ignored where the model reads none.
        image_tokens: states of one image embedding; ignored where the model reads none.
        image_conditioning: `none`, `first_frame`, or None: as the preset says.
        precision: fp32, bf16 or fp16: of autocast; weights, gradients and averages are float32.
        optimizer: a name in recipes.
        lora: rank, alpha, targets, dropout; None: all weights are trained.
        device: `cuda` or `cpu`, whose autocast differ.
        accumulates: whether gradients are there before the pass, as from the second pass of a step on, and in DDP.
        shards: processes that weights, gradients, averages and optimiser are divided over (fsdp2); 1: whole.
    """

    preset: str
    shape: tuple[int, int, int]
    samples: int = 1
    text_tokens: int = 512
    image_tokens: int = 1
    image_conditioning: str | None = None
    precision: str = "bf16"
    optimizer: str = "adamw"
    lora: Mapping[str, Any] | None = None
    device: str = "cuda"
    accumulates: bool = False
    shards: int = 1

    @property
    def positions(self) -> int:
        """Latent positions of a pass: what its memory grows with."""
        frames, height, width = self.shape
        return self.samples * frames * height * width

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with all of the preset that shapes the model."""
        return asdict(self) | {"architecture": dict(preset(self.preset).architecture)}


@dataclass(frozen=True)
class Usage:
    """What one policy takes in one case, in bytes on one device.

    Attributes:
        policy: of activation checkpointing: a name, or {pattern: whether to recompute}.
        weights: of the model, in float32.
        gradients: of all trained weights.
        optimizer: its state.
        averages: the exponential moving average of the trained weights.
        saved: activations that are held between the forward and the backward pass, with `casts`.
        casts: of these, copies of weights in the precision of the pass.
        backward: most that is held during the pass beside weights, optimiser and averages: what is saved, gradients as
            they come, and what is recomputed or computed and not yet used.
        step: most that is held beside them while the optimiser steps: gradients, and its temporary values.
        reserve: what the device holds beside tensors; a round number.
        peak: weights + optimizer + averages + the larger of `backward` and `step` + `reserve`.
        recompute_share: floating-point operations that are done again, over those of a step without recomputation.
        coverage: (class name, modules recomputed, modules in the model), counted during the pass.
    """

    policy: str | dict[str, bool]
    weights: int
    gradients: int
    optimizer: int
    averages: int
    saved: int
    casts: int
    backward: int
    step: int
    reserve: int
    peak: int
    recompute_share: float
    coverage: list[tuple[str, int, int]]

    @property
    def name(self) -> str:
        """Of the policy, for people."""
        if isinstance(self.policy, str):
            return self.policy
        return ", ".join(f"{pattern}: {str(on).lower()}" for pattern, on in self.policy.items())


def latent_shape(preset_name: str, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(frames, height, width) of the latent of a clip in the preset's latent space.

    Raises:
        ValueError: an unknown preset, or a size that the VAE does not take; the message names valid ones.
    """
    chosen = preset(preset_name)
    return latent_space(chosen.latent_family).latent_shape(frames, height, width)[1:]


def choose(usages: Sequence[Usage], budget: float) -> Usage | None:
    """The usage that recomputes least among those whose peak is at most `budget` bytes; None: there is none."""
    fitting = [usage for usage in usages if usage.peak <= budget]
    return min(fitting, key=lambda usage: (usage.recompute_share, usage.peak), default=None)


def in_words(size: float) -> str:
    """Bytes for people: GiB, or MiB where it is less than half of one."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 2 else f"{size / MIB:.1f} MiB"
