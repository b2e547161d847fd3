"""The loss of a denoiser on held-out samples, at fixed times and on fixed noise: comparable between checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from model import denoisers
from model.compute.numerics import autocast
from model.compute.ranks import ALONE, Ranks
from model.data.training_set import TrainingSet
from model.denoisers import models, preset
from model.evaluation.sampling import predictor, seeded_noise
from model.objectives.base import FIXED_QUANTILES, Objective
from model.vaes.backend import sample_and_normalise
from model.vaes.space import Normalisation


@dataclass(frozen=True)
class HeldoutLoss:
    """What was measured.

    Attributes:
        mean: over all samples and times; None where nothing is held out.
        by_time: share of the training times below the time that was looked at, such as `0.1` -> mean over the samples.
            The times themselves depend on the bucket where the shift is dynamic.
        by_bucket: bucket -> mean over its samples and all times.
        samples: how many are held out.
    """

    mean: float | None
    by_time: dict[str, float]
    by_bucket: dict[str, float]
    samples: int


def heldout_loss(
    model: nn.Module,
    preset_name: str,
    objective: Objective,
    data: TrainingSet,
    normalisation: Normalisation,
    seed: int,
    device: str,
    *,
    image_conditioning: str = "none",
    precision: str = "fp32",
    ranks: Ranks = ALONE,
) -> HeldoutLoss:
    """The held-out loss of a model; draws from no global generator, and leaves training mode as it was.

    Latents are posterior means, captions are not dropped. Each sample goes through the model alone, one time after
    the other, so that no other sample changes its padding, and the largest bucket needs the memory of one sample.

    Args:
        model: of the preset's family, on `device`.
        preset_name: key of `model.denoisers.PRESETS`.
        data: its split `heldout` is measured.
        seed: of the noise, which depends on it and the sample's id alone.
        image_conditioning, precision: as in the recipe.
        ranks: processes that hold the same model, or a part of it each. They share the samples; each must call this,
            and is given the same numbers.
    """
    family = denoisers.family(preset(preset_name).family)
    samples = data.split("heldout")
    mine = samples[ranks.rank :: ranks.size]
    # Weights that are sharded are gathered in each pass, so that every process must make as many of them
    mine += samples[: -(-len(samples) // ranks.size) - len(mine)]
    losses: dict[str, list[float]] = {}
    training = model.training
    model.eval()
    try:
        for sample in mine:
            batch = data.read([sample.sample_id])
            latent = sample_and_normalise(batch.latents, normalisation).to(device)
            conditions = models.conditions(
                batch, preset_name, device, data=latent, image_conditioning=image_conditioning
            )
            predict, found = predictor(model, family, conditions), []
            for time, share in zip(objective.fixed_times(sample.tokens), FIXED_QUANTILES, strict=True):
                noise = seeded_noise(seed, f"{sample.sample_id}/{share}", latent.shape).to(device)
                with torch.no_grad(), autocast(device, precision):
                    loss = objective.loss(predict, latent, noise, time[None])
                found.append(float(loss))
            losses[sample.sample_id] = found
    finally:
        model.train(training)
    every: dict[str, list[float]] = {}
    for part in reversed(ranks.gathered(losses)):  # what several have measured counts as the first of them has it
        every |= part
    by_bucket: dict[str, list[list[float]]] = {}
    for sample in samples:
        by_bucket.setdefault(sample.bucket, []).append(every[sample.sample_id])
    return _summary(by_bucket)


def _summary(losses: dict[str, list[list[float]]]) -> HeldoutLoss:
    if not losses:
        return HeldoutLoss(None, {}, {}, 0)
    every = torch.tensor([row for rows in losses.values() for row in rows], dtype=torch.float64)
    return HeldoutLoss(
        float(every.mean()),
        {str(share): float(loss) for share, loss in zip(FIXED_QUANTILES, every.mean(0), strict=True)},
        {bucket: float(torch.tensor(rows, dtype=torch.float64).mean()) for bucket, rows in sorted(losses.items())},
        len(every),
    )
