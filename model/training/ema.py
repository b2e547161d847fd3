"""The moving average of the weights that are trained: what is generated with, evaluated and handed on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch

from model.training.parallel import local


class Ema:
    """Averages in float32, on the device of the weights and sharded as they are; equal to them at the start.

    Args:
        weights: the trained weights by name. Frozen ones are equal to their average.
        decay: weight of the average at each update, 0 to 1, once the run is old enough.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], decay: float) -> None:
        self._weights = weights
        self._decay = decay
        self.averages = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after step number `step`, from 1."""
        # Early averages follow the weights more closely, or they would keep the random initialisation for long.
        decay = min(self._decay, step / (9 + step))
        averages = [local(average) for average in self.averages.values()]
        torch._foreach_lerp_(averages, [local(weight) for weight in self._weights.values()], 1 - decay)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the model computes with the averages; after it, weights and averages are as they were, bit for bit.

        One weight at a time, so that it takes the memory of the largest.
        """
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            mine, average = local(weight), local(self.averages[name])
            kept = mine.clone()
            mine.copy_(average)
            average.copy_(kept)
