"""What one process computes in a step: its samples in passes that fit its memory, each with randomness of its own.

All that is random about a sample comes from a generator that is seeded with (seed, stage, step, place in the global
batch). So neither the number of processes, nor the size of passes, nor an interruption changes what is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from model.compute.numerics import generator_of
from model.data.training_set import Batch
from model.objectives.base import Objective
from model.vaes.backend import sample_and_normalise
from model.vaes.space import Normalisation


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: samples of one bucket, and their places in the global batch."""

    batch: Batch
    places: list[int]


@dataclass(frozen=True)
class Draws:
    """What is drawn for the samples of a pass.

    Attributes:
        data: normalised latents, sampled from their posterior, (B, C, f, h, w).
        noise: N(0, 1) of the same shape.
        times: of the objective, (B,).
        dropped: whether the sample's caption is left out, (B,).
    """

    data: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    dropped: list[bool]


def passes_of(
    batches: Sequence[Batch], rank: int, size: int, micro_batch: int | Mapping[str, int] | None
) -> list[Pass]:
    """One process's part of a global batch as passes of at most `micro_batch` samples, for each bucket in turn.

    Args:
        batches: this process's, as the loader gives them: every `size`-th sample of the global batch, in order.
        rank, size: which process of how many.
        micro_batch: samples in a pass at most, for all buckets or by bucket; None, or a bucket that is not named: all.
    """
    made, place = [], rank
    for batch in batches:
        count = len(batch.samples)
        places = [place + size * index for index in range(count)]
        place += size * count
        limit = micro_batch_of(batch.samples[0].bucket, micro_batch) or count
        for start in range(0, count, limit):
            made.append(Pass(part_of(batch, start, start + limit), places[start : start + limit]))
    return made


def micro_batch_of(bucket: str, micro_batch: int | Mapping[str, int] | None) -> int | None:
    """The most samples that a pass of `bucket` may have; None: no limit."""
    return micro_batch.get(bucket) if isinstance(micro_batch, Mapping) else micro_batch


def as_many(passes: Sequence[Pass], count: int) -> list[Pass]:
    """`passes` as `count` of them, the largest ones halved.

    Processes exchange weights or gradients in their passes, so that one with fewer of them would leave the others
    waiting. It is always possible: each process has as many samples of a batch, and a pass has at least one.
    """
    made = list(passes)
    while len(made) < count:
        at = max(range(len(made)), key=lambda index: len(made[index].places))
        one = made[at]
        half = len(one.places) // 2
        made[at : at + 1] = [
            Pass(part_of(one.batch, 0, half), one.places[:half]),
            Pass(part_of(one.batch, half, None), one.places[half:]),
        ]
    return made


def draw(one: Pass, objective: Objective, how: Normalisation, caption_dropout: float, key: str, device: str) -> Draws:
    """Draw what is random about the samples of a pass; on the CPU, so that every device sees the same.

    Args:
        key: names the step: seed, stage and step.
    """
    latents = one.batch.latents.to(device, non_blocking=True)
    data, noise, times, dropped = [], [], [], []
    for latent, sample, place in zip(latents, one.batch.samples, one.places, strict=True):
        generator = generator_of(f"{key}/{place}")
        data.append(sample_and_normalise(latent, how, generator))
        times.append(objective.sample_times(1, generator, sample.tokens))
        noise.append(torch.randn(data[-1].shape, generator=generator))
        dropped.append(float(torch.rand((), generator=generator)) < caption_dropout)
    return Draws(
        torch.stack(data), torch.stack(noise).to(device, non_blocking=True), torch.cat(times).to(device), dropped
    )


def part_of(batch: Batch, start: int, stop: int | None) -> Batch:
    """Samples `start` to `stop` of a batch, without a copy of their latents."""
    return Batch(
        batch.samples[start:stop],
        batch.latents[start:stop],
        {kind: states[start:stop] for kind, states in batch.states.items()},
    )
