"""The largest passes of a stage, tried on random data before step 1, so that a rare long bucket cannot fail late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch

from model.data.kinds import KINDS
from model.data.order import BatchOrder
from model.data.states import DTYPES
from model.data.training_set import Batch, Sample, TrainingSet
from model.errors import ModelError, first_line, is_out_of_memory
from model.training.parallel import Shared, local
from model.training.passes import Pass, micro_batch_of
from model.training.step import Gradient


class DryRunError(ModelError):
    """A bucket does not fit; the message names it, and what can be changed."""


def dry_run(
    shared: Shared,
    gradient: Gradient,
    data: TrainingSet,
    order: BatchOrder,
    size: int,
    micro_batch: int | Mapping[str, int] | None,
    state_bytes: int,
) -> list[str]:
    """One forward and backward pass for each bucket, the one with most tokens first, beside memory for the optimiser.

    Leaves no trace: gradients are removed, neither weights nor the order are touched, and every step seeds anew what
    draws from torch's own generator. Every process must call this.

    Args:
        size: number of processes.
        micro_batch: of the runtime.
        state_bytes: what the optimiser will hold for each trained value, in bytes; 0 where it holds it already.

    Returns:
        The buckets that were tried, in their order.

    Raises:
        DryRunError: memory did not suffice.
    """
    passes = sorted(
        (_largest_pass(name, data, order, size, micro_batch) for name in order.buckets),
        key=lambda one: (-one.batch.latents.numel(), one.batch.samples[0].bucket),
    )
    held: list[torch.Tensor] = []
    for one in passes:
        sample, count = one.batch.samples[0], len(one.places)
        with _without_gradients_after(shared):
            try:
                if not held:
                    held = [
                        torch.empty(local(weight).numel() * state_bytes, dtype=torch.uint8, device=local(weight).device)
                        for weight in shared.trainable().values()
                    ]
                with shared.passing(last=False):
                    gradient.losses(one, "dry run").mean().backward()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise DryRunError(
                    f"bucket {sample.bucket} does not fit: a pass of {count} samples of shape {sample.shape} ran out "
                    f"of memory ({first_line(error)}). Set a smaller micro_batch for it (now {count}), a "
                    "policy of activation that recomputes more, recipe.lora, optimizer adamw_8bit, engine fsdp2 with "
                    "more processes, or leave the bucket out"
                ) from error
    return [one.batch.samples[0].bucket for one in passes]


def _largest_pass(
    bucket: str, data: TrainingSet, order: BatchOrder, size: int, micro_batch: int | Mapping[str, int] | None
) -> Pass:
    """The most samples of a bucket that one process can get in one pass, with its longest texts."""
    samples = [data.samples[name] for name in order.buckets[bucket]]
    batch = order.most(bucket)
    count = min(-(-batch // size), micro_batch_of(bucket, micro_batch) or batch)
    first = samples[0]
    latents = torch.randn(count, *first.shape, generator=torch.Generator().manual_seed(0)).to(DTYPES[first.dtype])

    def longest(kind: str) -> list[torch.Tensor | None]:
        keys = sorted({sample.keys[kind] for sample in samples if kind in sample.keys})
        return [max(data.read_states(keys), key=lambda state: len(state), default=None)] * count  # type: ignore[arg-type]

    made: list[Sample] = [first] * count
    return Pass(Batch(made, latents, {kind: longest(kind) for kind in KINDS}), list(range(count)))


@contextlib.contextmanager
def _without_gradients_after(shared: Shared) -> Iterator[None]:
    try:
        yield
    finally:
        for weight in shared.trainable().values():
            weight.grad = None
