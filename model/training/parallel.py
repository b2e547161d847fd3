"""Several processes that train one model: how they meet and part, and how gradients or weights are shared among them.

What they tell each other goes through `model.compute.ranks`. One process is the same code with nothing to do.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from model.compute.ranks import ALONE, Ranks
from model.errors import ModelError


class Stopped(Exception):  # noqa: N818 - not an error: the run was asked to stop, and its state is saved
    """All processes agreed to stop after a whole step, with the state on the disk."""


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The group of processes that `model.training.launch` or torchrun started; this process alone where none did.

    In order, which may wait for the others, it is left at the end and by `Stopped` alone: any other error may be one
    of this process, while the others go on to their next exchange, which must fail at once and not wait.

    Raises:
        ModelError: the others did not come.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank = int(os.environ["RANK"])
    ranks = Ranks(rank, size, int(os.environ.get("LOCAL_RANK", rank)))
    backend = "cpu:gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local % torch.cuda.device_count())
        backend += ",cuda:nccl"
    method = os.environ.get("MODEL_TRAIN_MEETING", "env://")
    try:
        torch.distributed.init_process_group(backend, init_method=method, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"rank {rank} of {size} could not join the others: {error}") from error
    try:
        yield ranks
    except Stopped:
        torch.distributed.destroy_process_group()
        raise
    torch.distributed.destroy_process_group()


def is_loss_of_another(error: BaseException) -> bool:
    """Whether an error only says that another process is gone."""
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL")
    return isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in words)


def device_of(name: str, ranks: Ranks) -> str:
    """The device of this process: of several on one machine, each has a GPU of its own."""
    if ranks.size == 1 or name == "cpu":
        return name
    if name != "cuda":
        raise ModelError(
            f"runtime.device {name} is one for {ranks.size} processes; with several, say cuda, auto or cpu"
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.size))
    if here > torch.cuda.device_count():
        raise ModelError(
            f"runtime.processes: {here} processes need as many GPUs, this machine shows {torch.cuda.device_count()}"
        )
    return f"cuda:{ranks.local}"


class Shared:
    """A model whose gradients are averaged over all processes.

    With `ddp` each process has all weights. With `fsdp2` each has a part of every weight, gradient and average, and
    gathers those of a block when it computes it.

    Args:
        model: on its device, with activation checkpointing and adapters applied.
        engine: `ddp` or `fsdp2`.
        ranks: the processes; with one, the model is used as it is.
    """

    def __init__(self, model: nn.Module, engine: str, ranks: Ranks) -> None:
        self.model = model
        #: What is called: the model, or what wraps it.
        self.called: Any = model
        self._sharded = engine == "fsdp2" and ranks.size > 1
        if self._sharded:
            _shard(model)
        elif ranks.size > 1:
            # Optional conditioning may leave a weight out of one process's graph: it is looked for, since the others
            # would wait for its gradient for ever.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the newer name of `broadcast_buffers`
                self.called = nn.parallel.DistributedDataParallel(
                    model, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
                )
        self._trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    @contextlib.contextmanager
    def passing(self, last: bool) -> Iterator[None]:
        """One of the forward and backward passes of a step; with `ddp` gradients are exchanged in the last one.

        With `fsdp2` they are in each, so that no process ever holds all of them.
        """
        if self.called is not self.model and not last:
            with self.called.no_sync():
                yield
        else:
            yield

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """The weights that are trained, by name; with `fsdp2`, DTensors."""
        return self._trainable

    def clip(self, limit: float) -> float:
        """Scale gradients down to a norm of at most `limit`; returns the norm before, over all processes."""
        norm = torch.nn.utils.clip_grad_norm_(self.trainable().values(), limit)
        return float(whole(norm))


def _shard(model: nn.Module) -> None:
    """Shard each block of the model's lists of blocks, and then what is left."""
    from torch.distributed.fsdp import FSDPModule, fully_shard

    # Nothing here changes a prediction in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    blocks = [block for part in model.children() if isinstance(part, nn.ModuleList) for block in part]
    device = next(model.parameters()).device.type
    mesh = torch.distributed.device_mesh.init_device_mesh(device, (torch.distributed.get_world_size(),))
    for module in (*(block for block in blocks if any(True for _ in block.parameters())), model):
        # True also for the outermost module: it would stay gathered after a pass without gradients, and the step after
        # a validation would compute with the averages that were swapped in for it
        sharded: Any = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        if device == "cpu":
            sharded.set_force_sum_reduction_for_comms(True)  # gloo has no average
    assert isinstance(model, FSDPModule)
    model.set_reduce_scatter_unused_params(True)  # as `find_unused_parameters`


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process holds; shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fill(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Put `values`, a whole tensor, into a tensor of which this process may hold a part."""
    with torch.no_grad():
        if isinstance(tensor, DTensor):
            from torch.distributed.tensor import distribute_tensor

            # each process has read all values, so that nothing is sent
            values = distribute_tensor(
                values.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
            )
        tensor.copy_(values)
