"""The memory that a training step will take, known before it runs and without the device that it will run on.

The real model does a real forward and backward pass, under the real activation policy and precision, on tensors
that have a shape and no bytes; `model.memory.tracker` counts what is held. Nothing is estimated from formulas but
what no pass shows: the optimiser's state, and the division of weights over processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from model import denoisers
from model.compute.numerics import autocast
from model.data.kinds import KINDS
from model.denoisers import models, preset
from model.denoisers.base import config_of
from model.denoisers.conditions import Conditions
from model.errors import ModelError
from model.memory import activation
from model.memory.activation import ActivationPolicy, Coverage
from model.memory.case import GIB, Case, Usage
from model.memory.tracker import Tracker, as_on_cuda, backward, tensor_bytes
from model.recipe import Lora

if TYPE_CHECKING:
    from model.denoisers.conditions import States

#: What a CUDA device holds beside tensors: its context, and workspaces of cuBLAS and cuDNN. A round number from
#: experience, not measured here; fragments of the allocator are not in it.
CUDA_RESERVE = GIB

#: Bytes that each optimiser keeps for one trained value, and what its step holds beside that for a while.
_OPTIMIZERS = {
    "adamw": (8, 4),  # two moments in float32; all weights in one go, which takes the root of one of them at once
    "adamw_fused": (8, 0),
    "adamw_8bit": (2, 0),
}
#: bitsandbytes quantises moments of tensors from this size, in blocks of this many with a float32 scale for each.
_QUANTISED_FROM, _BLOCK = 4096, 256


def plan(case: Case, policies: tuple[ActivationPolicy, ...] | None = None) -> list[Usage]:
    """What each policy takes in `case`, the one that recomputes least first.

    Args:
        policies: those to try; None: all that reach something in this model.

    Raises:
        ModelError: a case that the model cannot be trained in.
    """
    if policies is None:
        policies = activation.policies(_model(case, "meta"))
    return sorted((usage(case, policy) for policy in policies), key=lambda one: (one.recompute_share, one.peak))


def usage(case: Case, policy: ActivationPolicy) -> Usage:
    """What one policy takes in `case`; raises as `plan` does."""
    return _usage(case, _measured(case, policy), _measured(case, "none").flops)


def peak(case: Case, policy: ActivationPolicy) -> int:
    """Bytes that one policy takes in `case` at most, `Usage.peak`; half the work of `usage`."""
    one = _measured(case, policy)
    return _usage(case, one, one.flops).peak


def _measured(case: Case, policy: ActivationPolicy) -> _Measured:
    """What a pass of `case` shows, followed once in this process."""
    followed = replace(case, optimizer="adamw", shards=1)  # neither is part of a pass
    key = json.dumps([followed.as_dict(), policy], sort_keys=True, default=list)
    if key not in _MEASURED:
        _MEASURED[key] = _measure(followed, policy)
    return _MEASURED[key]


_MEASURED: dict[str, _Measured] = {}


@dataclass(frozen=True)
class _Measured:
    """What one fake pass showed."""

    policy: ActivationPolicy
    weights: int
    trained: tuple[int, ...]
    largest_block: int
    saved: int
    casts: int
    peak: int
    flops: int
    coverage: Coverage


def _measure(case: Case, policy: ActivationPolicy, fake: bool = True) -> _Measured:
    """Follow one pass of `case`; with real tensors of the CPU where not `fake`, which shows the same."""
    model = _model(case, "meta" if fake else "cpu")
    activation.apply(model, policy)
    with FakeTensorMode() if fake else nullcontext(), _as_on(case.device):
        if fake:
            _without_bytes(model)
        latents, predict = _call(case, model)
        weights = list(model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        if case.accumulates:
            for weight in trained:
                weight.grad = torch.empty_like(weight)
        held = [*weights, *model.buffers(), latents, *(weight.grad for weight in trained if weight.grad is not None)]
        before = tensor_bytes([*weights, *model.buffers()])
        with activation.counting(model, policy) as counted, Tracker(held, weights) as tracker:
            with autocast("cpu", case.precision):
                loss = (predict() - latents).square().flatten(1).mean(1).mean()
            saved, casts = tracker.live - tensor_bytes(held), tracker.casts
            backward(loss)
        missing = [weight for weight in trained if weight.grad is None]
        assert len(missing) < len(trained), "no weight got a gradient"
        return _Measured(
            policy,
            before,
            tuple(weight.numel() for weight in trained),
            max((tensor_bytes(list(block.parameters())) for block in _blocks(model)), default=0),
            saved,
            casts,
            tracker.peak - before,
            tracker.flops,
            counted[0],
        )


def _usage(case: Case, one: _Measured, flops: int) -> Usage:
    trained, shards = sum(one.trained), case.shards
    moments, temporary = _optimizer_bytes(case.optimizer, one.trained)
    gradients, averages = 4 * trained, 4 * trained
    weights, backward = one.weights, one.peak
    if shards > 1:
        # Whole weights of the block that is computed, and of the one that is fetched meanwhile; gradients of a block
        # before they are divided. What is held of a pass stays whole: each process has samples of its own.
        weights, gradients, averages, moments, temporary = (
            -(-size // shards) for size in (weights, gradients, averages, moments, temporary)
        )
        backward += 3 * one.largest_block + (gradients if case.accumulates else 0) - case.accumulates * 4 * trained
    reserve = CUDA_RESERVE if case.device == "cuda" else 0
    step = gradients + temporary
    return Usage(
        one.policy if isinstance(one.policy, str) else dict(one.policy),
        weights,
        gradients,
        moments,
        averages,
        one.saved,
        one.casts,
        backward,
        step,
        reserve,
        weights + moments + averages + max(backward, step) + reserve,
        one.flops / flops - 1,
        one.coverage.rows(),
    )


def _optimizer_bytes(name: str, sizes: tuple[int, ...]) -> tuple[int, int]:
    """Bytes of the state of the optimiser for weights of these sizes, and most that its step holds beside it."""
    if name not in _OPTIMIZERS:
        raise ModelError(f"no memory is known for the optimizer {name!r}; known are {', '.join(_OPTIMIZERS)}")
    each, temporary = _OPTIMIZERS[name]
    if name != "adamw_8bit":
        return each * sum(sizes), temporary * sum(sizes)
    quantised = [size for size in sizes if size >= _QUANTISED_FROM]
    rest = sum(sizes) - sum(quantised)
    return sum(each * (size + 4 * -(-size // _BLOCK)) for size in quantised) + 8 * rest, temporary


def _model(case: Case, device: str) -> nn.Module:
    """The model of a case; on the meta device no weight is drawn."""
    with torch.device(device):
        model = models.build(case.preset, 0, case.image_conditioning)
        if case.lora is not None:
            from model.denoisers import lora

            lora.add(model, Lora.model_validate(case.lora), 0)
    return model


def _without_bytes(model: nn.Module) -> None:
    """Inside a fake mode: give `model` fake tensors of the CPU for its own, in place.

    It is not built in fake mode, since fake weights cannot be moved or converted, as peft does with adapters.
    """
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _call(case: Case, model: nn.Module) -> tuple[torch.Tensor, Any]:
    """Latents of the case, and a function that predicts something of their shape."""
    chosen = preset(case.preset)
    family = denoisers.family(chosen.family)
    dims = family.dims(config_of(model))
    frames, height, width = case.shape
    latents = torch.ones(case.samples, dims.channels, frames, height, width)
    first = case.image_conditioning or chosen.image_conditioning
    text_tokens = min(case.text_tokens, chosen.text_tokens or case.text_tokens)
    tokens = {kind: one.tokens for kind, one in KINDS.items()} | {"text": text_tokens, "image": case.image_tokens}
    states: dict[str, States] = {
        kind: [torch.ones(tokens[kind], size) for _ in range(case.samples)]
        for kind, size in dims.states.items()
        if size is not None and (kind != "image" or chosen.image_states)
    }
    conditions = Conditions(
        states,
        [None] * case.samples,
        torch.ones(case.samples, dims.channels, height, width) if first == "first_frame" and frames > 1 else None,
        None,
        chosen.text_tokens,
    )
    timestep = torch.ones(case.samples)
    return latents, lambda: family.predict(model, latents, timestep, conditions).float()


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """What fsdp2 gathers at a time: the members of the model's lists of blocks (`model.training.parallel`)."""
    for part in model.children():
        if isinstance(part, nn.ModuleList):
            yield from part


def _as_on(device: str) -> AbstractContextManager[None]:
    return as_on_cuda() if device == "cuda" else nullcontext()
