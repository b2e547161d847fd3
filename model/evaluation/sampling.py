"""Latents that a denoiser generates, and the noise that they are made of, the same for the same name and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from model.compute.numerics import generator_of
from model.denoisers.base import Family, config_of
from model.denoisers.conditions import Conditions
from model.objectives.base import Objective

if TYPE_CHECKING:
    from model.objectives.base import Predict


def seeded_noise(seed: int, name: str, shape: Sequence[int]) -> torch.Tensor:
    """N(0, 1) of `shape`, float32, on the CPU; the same for equal seed and name, on any machine with this torch."""
    return torch.randn(tuple(shape), generator=generator_of(f"{seed}/{name}"))


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
    embedded = family.embeds_guidance(config_of(model))
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
