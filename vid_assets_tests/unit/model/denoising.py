"""Inputs and conditions of a tiny denoiser of each family, and what it predicts for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from model import denoisers
from model.data.kinds import KINDS
from model.denoisers import preset
from model.denoisers.conditions import Conditions
from model.vaes import latent_space

TINY = ["svd-tiny", "cogvideox-tiny", "hunyuan-video-tiny", "wan-tiny", "ltx-video-tiny"]
TIMES = {"svd": [0.4, -0.3], "cogvideox": [700.0, 20.0]}


def inputs(name: str, frames: int, seed: int = 0, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    channels = latent_space(preset(name).latent_family).channels
    noisy = torch.randn(count, channels, frames, 8, 8, generator=generator)
    return noisy, torch.tensor(TIMES.get(preset(name).family, [700.0, 20.0]))[:count]


def states(tokens: int, seed: int = 0, dim: int = 64) -> torch.Tensor:
    return torch.randn(tokens, dim, generator=torch.Generator().manual_seed(seed))


def given(name: str, **changes: Any) -> Conditions:
    """Conditions of two samples with all that a model may read."""
    made = {"text": [states(5), states(9, 1)], "pooled": [states(1, 2), None], "image": [states(1, 3), states(1, 4)]}
    made |= {kind: changes.pop(kind) for kind in KINDS if kind in changes}
    return dataclasses.replace(Conditions(made, [12.0, None], text_tokens=preset(name).text_tokens), **changes)


def predict(name: str, model: nn.Module, frames: int, conditions: Conditions, seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        noisy, times = inputs(name, frames, seed, len(conditions))
        return denoisers.family(preset(name).family).predict(model, noisy, times, conditions)
