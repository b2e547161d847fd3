"""Optimisers by name, their learning rate at each step, and their state as plain tensors.

8-bit AdamW is that of bitsandbytes: two moments of a byte each, in blocks of 256 with a scale (Dettmers et al., 2022,
arXiv:2110.02861).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from model.errors import ModelError
from model.recipe import Optimizer, StageSettings
from model.training.parallel import fill, whole


def state_bytes(name: str) -> int:
    """Bytes of state for each trained value, of the optimiser called `name`: two moments; scales of blocks aside."""
    return 2 if name == "adamw_8bit" else 8


def make_optimizer(settings: Optimizer, weights: Mapping[str, torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """The optimiser of a recipe.

    Args:
        settings: of a recipe.
        weights: what is trained, by name.
        lr: learning rate, until `set_rate` sets another.

    Raises:
        ModelError: `adamw_8bit` without bitsandbytes.
    """
    common: dict[str, Any] = {
        "lr": lr,
        "betas": settings.betas,
        "eps": settings.eps,
        "weight_decay": settings.weight_decay,
    }
    parameters = list(weights.values())
    if settings.name == "adamw_8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise ModelError(f"recipe.optimizer.name adamw_8bit needs the extra adamw8bit: {error}") from None
        return AdamW8bit(parameters, **common)
    return torch.optim.AdamW(parameters, **common, fused=True if settings.name == "adamw_fused" else None)


def rate(recipe: StageSettings, step: int) -> float:
    """The learning rate of step number `step`, from 1.

    A linear warm-up to `lr` over `warmup_steps`; then it stays, or falls along a half cosine or a line, to
    `final_share` of `lr` in the last step.
    """
    schedule, warmup = recipe.schedule, recipe.schedule.warmup_steps
    if step <= warmup:
        return recipe.lr * step / warmup
    if schedule.name == "constant":
        return recipe.lr
    done = (step - warmup) / max(1, recipe.steps - warmup)
    left = (1 + math.cos(math.pi * done)) / 2 if schedule.name == "cosine" else 1 - done
    return recipe.lr * (schedule.final_share + (1 - schedule.final_share) * left)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def state_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state as whole tensors on the CPU, named `<what>/<weight>`; every process must ask for it."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        for key, value in optimizer.state.get(weight, {}).items():
            stored = whole(value).detach().cpu() if isinstance(value, torch.Tensor) else torch.tensor(value)
            # safetensors takes no tensor twice, and the table of the 256 values is one for all weights
            tensors[f"{key}/{name}"] = stored.clone() if key.startswith("qmap") else stored
    return tensors


def load_state(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put what `state_tensors` gave into a new optimiser of the same weights, on any number of processes."""
    for key, value in tensors.items():
        what, _, name = key.partition("/")
        weight = weights[name]
        state = optimizer.state[weight]
        if what == "step":  # a number in bitsandbytes, a tensor in torch, which lies with the weight where it is fused
            fused = optimizer.defaults.get("fused")
            state[what] = value.to(weight.device if fused else "cpu") if value.is_floating_point() else int(value)
        elif isinstance(weight, DTensor):
            state[what] = torch.zeros_like(weight)
            fill(state[what], value)
        else:
            state[what] = value.to(weight.device)
