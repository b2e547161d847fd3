"""Every family with its objective learns eight latents by heart, which no model of their mean and variance can.

The measure is the best predictor that takes each element for Gaussian. At a given time the denoiser's input and target
are y = a x + b n and v = c x + d n, with n ~ N(0, 1). Were x ~ N(m, s) with the mean m and variance s of the data, then
    E[v | y] = c m + (c a s + d b) / (a^2 s + b^2) (y - a m),
which is also the best of all predictors that are affine in y. A denoiser with much less loss knows which elements go
together. All of the code of training and sampling takes part but for data and checkpoints.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from model import denoisers
from model.denoisers import models, preset
from model.denoisers.base import Family
from model.denoisers.conditions import Conditions
from model.evaluation.sampling import generate, predictor
from model.objectives import make
from model.objectives.base import Objective

COUNT = 8

# Noise levels for latents as small as these, at which each of them is told from the others most of the time.
CASES: dict[str, dict[str, Any]] = {
    "svd-tiny": {
        "objective": {"name": "edm", "p_mean": 1.2, "p_std": 1.0, "sigma_max": 40.0},
        "shape": (4, 2, 4, 4), "std": 2.0, "batch": 8, "steps": 150, "lr": 4e-3,
    },
    "cogvideox-tiny": {
        "objective": {"name": "ddpm", "snr_shift_scale": 1.0},
        "shape": (16, 2, 4, 4), "std": 4.0, "batch": 32, "steps": 500, "lr": 4e-3,
    },
    "hunyuan-video-tiny": {
        "objective": {"name": "flow_matching", "shift": 5.0},
        "shape": (16, 2, 4, 4), "std": 4.0, "batch": 32, "steps": 400, "lr": 5e-3,
    },
    "wan-tiny": {
        "objective": {"name": "flow_matching", "shift": 5.0},
        "shape": (16, 2, 4, 4), "std": 4.0, "batch": 32, "steps": 400, "lr": 5e-3,
    },
    "ltx-video-tiny": {
        "objective": {"name": "flow_matching", "shift": "dynamic", "logit_mean": 1.5},
        "shape": (128, 2, 2, 2), "std": 4.0, "batch": 32, "steps": 350, "lr": 5e-3,
    },
}  # fmt: skip


def latents(shape: tuple[int, ...], std: float) -> torch.Tensor:
    """Eight smooth latents: a constant and a slope along each axis, with random weights by channel.

    Their standard deviation is `std`; with 4 they are as far apart under noise as those of sixteen times as many
    positions are at 1, which would take a CPU too long.
    """
    channels, *size = shape
    slopes = [torch.cos(torch.pi * (torch.arange(length) + 0.5) / length) for length in size]
    basis = torch.stack([torch.ones(*size), *torch.meshgrid(*slopes, indexing="ij")])
    weights = torch.randn(COUNT, channels, len(basis), generator=torch.Generator().manual_seed(0))
    data = torch.einsum("nck,kfhw->ncfhw", weights, basis)
    return std * data / data.std()


def given(family: Family, data: torch.Tensor) -> Conditions:
    """No texts; the first frame in the family whose models are always given it."""
    first = data[:, :, 0] if family.name == "svd" else None
    return dataclasses.replace(Conditions.none(len(data)), first_frame=first, text_tokens=1)


def fixed_noise(data: torch.Tensor, place: int) -> torch.Tensor:
    return torch.randn(data.shape, generator=torch.Generator().manual_seed(100 + place))


def fixed_loss(objective: Objective, model: Any, family: Family, data: torch.Tensor) -> float:
    predict, losses = predictor(model, family, given(family, data)), []
    with torch.no_grad():
        for place, time in enumerate(objective.fixed_times(data[0, 0].numel())):
            losses.append(objective.loss(predict, data, fixed_noise(data, place), time.expand(COUNT)).mean())
    return float(torch.stack(losses).mean())


def gaussian_loss(objective: Objective, family: Family, data: torch.Tensor) -> float:
    """Loss of the best predictor that takes each element for Gaussian, at the same times and noise.

    It too knows a first frame that the model is given: the elements there have no variance left.
    """
    mean, variance = data.mean(0).repeat(COUNT, 1, 1, 1, 1), data.var(0, unbiased=False)
    first = given(family, data).first_frame
    if first is not None:
        mean[:, :, 0], variance[:, 0] = first, 0.0
    one, zero, losses = torch.ones_like(data[:1]), torch.zeros_like(data[:1]), []
    for place, time in enumerate(objective.fixed_times(data[0, 0].numel())):
        a, _, c = (part.flatten()[0] for part in objective.noised(one, zero, time[None]))
        b, _, d = (part.flatten()[0] for part in objective.noised(zero, one, time[None]))
        noised = objective.noised(data, fixed_noise(data, place), time.expand(COUNT))
        gain = (c * a * variance + d * b) / (a * a * variance + b * b)
        losses.append((c * mean + gain * (noised.model_input - a * mean) - noised.target).square().mean())
    return float(torch.stack(losses).mean())


def train(objective: Objective, model: Any, family: Family, data: torch.Tensor, case: dict[str, Any]) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=case["lr"], betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    generator, tokens = torch.Generator().manual_seed(1), data[0, 0].numel()
    rows = torch.arange(case["batch"]) % COUNT
    for step in range(case["steps"]):
        share = 0.5 * (1 + math.cos(math.pi * step / case["steps"]))
        optimizer.param_groups[0]["lr"] = case["lr"] * min(1.0, (step + 1) / 20) * share
        noise = torch.randn((len(rows), *data.shape[1:]), generator=generator)
        times = objective.sample_times(len(rows), generator, tokens)
        loss = objective.loss(predictor(model, family, given(family, data[rows])), data[rows], noise, times).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def farthest(objective: Objective, model: Any, family: Family, data: torch.Tensor) -> float:
    """Largest distance of a generated latent to its nearest data latent, over the mean distance between latents."""
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(7))
    made = generate(model, family, objective, given(family, data), noise, 20, None)
    nearest = torch.cdist(made.flatten(1), data.flatten(1)).min(1).values
    return float(nearest.max() / torch.pdist(data.flatten(1)).mean())


@pytest.mark.parametrize("name", CASES)
def test_a_tiny_model_learns_eight_latents_by_heart(name: str) -> None:
    case = CASES[name]
    objective, family = make(case["objective"]), denoisers.family(preset(name).family)
    data, model = latents(case["shape"], case["std"]), models.build(name, 0)
    reachable = 0.3 * gaussian_loss(objective, family, data)
    assert fixed_loss(objective, model, family, data) > 3 * reachable
    assert farthest(objective, model, family, data) > 0.5

    train(objective, model, family, data, case)
    model.eval()
    assert fixed_loss(objective, model, family, data) <= reachable
    assert farthest(objective, model, family, data) < 0.5
