"""Latents that a denoiser generates, and the noise that they are made of, the same for the same name and seed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from model.denoisers import Conditions, Family, config_of
from model.objectives.base import Objective, Predict

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def seeded_noise(seed: int, name: str, shape: Sequence[int]) -> torch.Tensor:
    """N(0, 1) of `shape`, float32, on the CPU; the same for equal seed and name, on any machine with this torch."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(tuple(shape), generator=generator)


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """The context in which a model computes in `precision`: `fp32`, `bf16` or `fp16`."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, _DTYPES[precision])


def generate(
    model: nn.Module,
    family: Family,
    objective: Objective,
    conditions: Conditions,
    noise: torch.Tensor,
    steps: int,
    guidance: float | None,
) -> torch.Tensor:
    """Normalised latents (B, C, f, h, w) that the objective's scheduler makes of `noise`, on its device.

    Args:
        model: of `family`.
        conditions: of as many samples, on the device of `noise`.
        noise: N(0, 1), (B, C, f, h, w).
        steps: of the scheduler.
        guidance: g. A model with embedded guidance (HunyuanVideo) is given it as an input. For all others it is that of
            classifier-free guidance (Ho and Salimans, 2022, arXiv:2207.12598), u + g (c - u), of the predictions c with
            the conditions and u without, which takes two calls a step. None and 1 are no guidance.
    """
    embedded = bool(config_of(model).get("guidance_embeds"))
    strength = None if embedded else guidance
    if embedded and guidance is not None:
        conditions = replace(conditions, guidance=guidance)
    with torch.no_grad():
        return objective.generate(predictor(model, family, conditions, strength), noise, steps, noise[0, 0].numel())


def predictor(model: nn.Module, family: Family, conditions: Conditions, guidance: float | None = None) -> Predict:
    """What an objective calls: the model with its conditions, and with classifier-free guidance if asked for."""

    def predict(model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return family.predict(model, model_input, timestep, conditions)

    def guided(model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        given = family.predict(model, model_input, timestep, conditions).float()
        plain = family.predict(model, model_input, timestep, without).float()
        return plain + (guidance or 0.0) * (given - plain)

    if guidance is None or guidance == 1:
        return predict
    without = family.drop(conditions, [True] * len(conditions))
    return guided
