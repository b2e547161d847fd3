"""The gradient of a training step: forward and backward passes over one process's samples, in the run's precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model import denoisers
from model.compute.numerics import autocast, seed_of
from model.compute.ranks import Ranks
from model.data.training_set import Batch
from model.denoisers import models
from model.manifest import Manifest
from model.objectives import make
from model.training.parallel import Shared
from model.training.passes import Pass, as_many, draw, passes_of


class Gradient:
    """Computes gradients of the mean loss over all samples of a global batch.

    Args:
        manifest: of the run.
        shared: the model, on `device`.
        ranks: the processes that share a batch.
    """

    def __init__(self, manifest: Manifest, shared: Shared, ranks: Ranks, device: str) -> None:
        self._recipe, self._stage = manifest.recipe, manifest.stage
        self._shared, self._ranks, self._device = shared, ranks, device
        self._how = manifest.vae.normalisation
        self._micro_batch = manifest.runtime.micro_batch
        self._family = denoisers.family(self._recipe.family)
        self._objective = make(self._recipe.objective)

    def add(self, batches: Sequence[Batch], step: int, scaler: torch.amp.GradScaler) -> float:
        """Add the gradient of step number `step`, from 0, and return the loss: the mean over the global batch.

        Args:
            batches: this process's part of it.
            scaler: scales the loss before its backward pass, and does nothing but in fp16.
        """
        key = f"{self._recipe.seed}/{self._stage}/{step}"
        passes = passes_of(batches, self._ranks.rank, self._ranks.size, self._micro_batch)
        passes = as_many(passes, self._ranks.largest(len(passes))[0])
        mine = sum(len(one.places) for one in passes)
        parts = []
        for number, one in enumerate(passes):
            with self._shared.passing(last=number == len(passes) - 1):
                loss = self.losses(one, key).sum() / mine
                scaler.scale(loss).backward()
            parts.append(loss.detach())
        # every process has as many samples, so that the mean of their means is the mean
        return self._ranks.sums(float(torch.stack(parts).double().sum()))[0] / self._ranks.size

    def losses(self, one: Pass, key: str) -> torch.Tensor:
        """Loss of each sample of a pass, (B,)."""
        recipe = self._recipe
        drawn = draw(one, self._objective, self._how, recipe.caption_dropout, key, self._device)
        conditions = self._family.drop(
            models.conditions(
                one.batch,
                recipe.model,
                self._device,
                data=drawn.data,
                image_conditioning=recipe.image_conditioning,
            ),
            drawn.dropped,
        )
        self._seed(seed_of(f"{key}/{one.places[0]}/dropout"))
        with autocast(self._device, recipe.precision):
            return self._objective.loss(
                lambda noisy, at: self._family.predict(self._shared.called, noisy, at, conditions),
                drawn.data,
                drawn.noise,
                drawn.times,
            )

    def _seed(self, seed: int) -> None:
        """Seed the generators that layers draw from which drop activations: the CPU's and the device's.

        `torch.manual_seed` does so for every kind of device there is, and keeps a stack trace for each that is not in
        use: a fifth of a millisecond.
        """
        torch.default_generator.manual_seed(seed)
        if self._device.startswith("cuda"):
            torch.cuda.manual_seed(seed)
