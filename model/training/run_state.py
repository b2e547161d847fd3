"""What is kept of a run: the tensors and the position in a step folder, and the weights of a finished checkpoint.

A step folder holds `weights.safetensors` (what is trained), `ema.safetensors`, `optimizer.safetensors` and
`state.json` (position, curves, loss scale, identity), of whole tensors by name, so that any number of processes goes
on from it. No state of a random generator is kept: every step seeds its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from model import checkpoint
from model.compute.ranks import Ranks
from model.errors import ModelError
from model.manifest import difference
from model.training.ema import Ema
from model.training.optimizers import load_state, state_tensors
from model.training.parallel import fill, whole

Tensors = dict[str, torch.Tensor]


class OtherRunError(ModelError):
    """A folder holds another run than the one asked for; the message lists where they differ."""


def save_step(
    folder: Path,
    ranks: Ranks,
    weights: Mapping[str, torch.Tensor],
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write a step folder; every process must call this, the first one writes."""
    parts: dict[str, Callable[[], Tensors]] = {
        "weights": lambda: gathered(weights),
        "ema": lambda: gathered(ema.averages),
        "optimizer": lambda: state_tensors(optimizer, weights),
    }
    if not ranks.first:
        for gather in parts.values():
            gather()
        return
    with writing(folder), checkpoint.atomic_folder(folder, replace=True) as temporary:
        for name, gather in parts.items():  # one after the other, so that one of them is in memory at a time
            save_file(_contiguous(gather()), str(temporary / f"{name}.safetensors"))
        checkpoint.write_state(temporary, state)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, what keeps `folder` from being written, such as a full disk, is a `CheckpointError`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise checkpoint.CheckpointError(
            f"{folder} could not be written: {error}. What was saved before is whole; started again, the run goes on "
            "from there"
        ) from error


def load_step(
    folder: Path, weights: Mapping[str, torch.Tensor], ema: Ema, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put the tensors of a step folder where they belong; returns its state."""
    for name, tensors in (("weights", weights), ("ema", ema.averages)):
        stored = load_file(str(folder / f"{name}.safetensors"))
        if stored.keys() != tensors.keys():
            raise checkpoint.CheckpointError(f"{folder / name}.safetensors holds the weights of another model")
        for key, tensor in tensors.items():
            fill(tensor, stored[key])
    load_state(optimizer, weights, load_file(str(folder / "optimizer.safetensors")))
    return checkpoint.read_state(folder)


def refuse_other_run(now: dict[str, Any], before: dict[str, Any], folder: Path) -> None:
    """Raise `OtherRunError` unless two identities are equal, that of the manifest and that in `folder`."""
    lines = difference(now, before)
    if lines:
        raise OtherRunError(
            f"{folder} is of another run than the one asked for; use another output, or remove it. It differs in:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def save_model(model: nn.Module, folder: Path, ranks: Ranks) -> None:
    """Write a model as `from_pretrained` loads it; every process must call this, the first one writes."""
    tensors = gathered(model.state_dict())
    if ranks.first:
        model.save_config(str(folder))  # type: ignore[operator]
        _name_class(folder / "config.json", model)
        file = folder / "diffusion_pytorch_model.safetensors"
        save_file(_contiguous(tensors), str(file), metadata={"format": "pt"})


def _name_class(config: Path, model: nn.Module) -> None:
    """Name the class of diffusers, not the one that fsdp2 made of it."""
    stored = json.loads(config.read_text(encoding="utf-8"))
    stored["_class_name"] = next(
        kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("diffusers")
    )
    checkpoint.write_json(config, stored)


def gathered(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Whole tensors on the CPU, of those that each process may hold a part of."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in tensors.items()}


def _contiguous(tensors: Tensors) -> Tensors:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
