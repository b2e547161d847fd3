"""What every objective offers: noised inputs with their targets, the loss, times, and sampling by a scheduler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

#: (model input (B, C, f, h, w), timestep (B,)) -> what the denoiser gives, (B, C, f, h, w).
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

#: Middles of five equally likely parts of the training times, at which losses are compared.
FIXED_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


class Noised(NamedTuple):
    """One training example of a denoiser, for each sample of a batch.

    Attributes:
        model_input: noisy latents, scaled as the denoiser takes them, (B, C, f, h, w).
        timestep: as the diffusers class of the family takes it, (B,).
        target: what the denoiser should give, (B, C, f, h, w), float32.
    """

    model_input: torch.Tensor
    timestep: torch.Tensor
    target: torch.Tensor


class Objective(ABC):
    """An objective. `data` are normalised latents, `noise` is N(0, 1) of their shape, `times` are the objective's own.

    Where `tokens` is asked for, it is the number of latent positions, f * h * w; only a dynamic shift depends on it.
    """

    @abstractmethod
    def sample_times(self, count: int, generator: torch.Generator, tokens: int) -> torch.Tensor:
        """Training times, (count,), float32 on the CPU, drawn from a CPU generator."""

    @abstractmethod
    def quantiles(self, shares: torch.Tensor, tokens: int) -> torch.Tensor:
        """The times below which these shares (float64, in (0, 1)) of the training times lie, float32 on the CPU."""

    @abstractmethod
    def noised(self, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> Noised:
        """The denoiser's input and target at `times`, (B,), on any device."""

    @abstractmethod
    def scheduler_config(self) -> dict[str, Any]:
        """`scheduler_config.json` of the diffusers scheduler that samples this objective, `_class_name` included."""

    @abstractmethod
    def generate(self, predict: Predict, noise: torch.Tensor, steps: int, tokens: int) -> torch.Tensor:
        """Latents (B, C, f, h, w) that the scheduler makes of `noise`, N(0, 1), in `steps` calls of `predict`.

        Raises:
            ObjectiveError: `steps` is no number of steps that the scheduler takes.
        """

    def scheduler(self) -> Any:
        """The diffusers scheduler of `scheduler_config`."""
        import diffusers

        config = self.scheduler_config()
        return getattr(diffusers, config["_class_name"]).from_config(config)

    def fixed_times(self, tokens: int) -> torch.Tensor:
        """The five times at which held-out losses are measured, (5,), float32 on the CPU.

        They are the middles of equally likely parts of the training times, so that the mean loss over them estimates
        the training loss.
        """
        return self.quantiles(torch.tensor(FIXED_QUANTILES, dtype=torch.float64), tokens)

    def loss(self, predict: Predict, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Squared error of the prediction for each sample, (B,): the mean over channels, frames, height and width."""
        model_input, timestep, target = self.noised(data, noise, times)
        return (predict(model_input, timestep).float() - target).square().flatten(1).mean(1)


def per_sample(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`values` (B,) as (B, 1, ..., 1), on the device of `like` (B, ...)."""
    return values.to(like.device).view(-1, *[1] * (like.ndim - 1))
