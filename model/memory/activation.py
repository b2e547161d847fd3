"""Activation checkpointing in layers: which modules of a denoiser run again in the backward pass, and how many did.

A module that is recomputed holds only its inputs between the forward and the backward pass; what it computes inside is
computed again when its gradient is due. Regions may lie in one another: then the outer one gives back nearly all, and
the inner ones keep the outer one's recomputation from holding everything at once, at the price of one more forward.

diffusers' own switch leaves out much (design: no temporal block of the SVD UNet), so a policy names the classes of each
architecture (`Family.recomputes`). What it reaches can be counted: `counting` watches a real backward pass.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, get_args

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from model.denoisers import FAMILIES
from model.errors import ModelError
from model.recipe import PolicyName

#: `none` recomputes nothing; `diffusers` is the library's own switch; what each reaches says `Family.recomputes`.
POLICIES: tuple[str, ...] = get_args(PolicyName)

#: What somebody may ask for: a policy, or {pattern of module names or class names, or policy: whether to recompute}.
ActivationPolicy = str | Mapping[str, bool]

#: Class of a model -> what each policy recomputes in it; that `diffusers` is what the library does, the tests count.
_REACHES: dict[str, Mapping[str, tuple[str, ...]]] = {
    family.class_name: family.recomputes for family in FAMILIES.values()
}


@dataclass(frozen=True)
class Coverage:
    """How many modules of each class are recomputed in a backward pass.

    Attributes:
        policy: what was applied, as it was given.
        recomputed: {class name: modules of it that run again in the backward pass}.
        total: {class name: modules of it in the model}; the classes that some policy of this architecture names.
    """

    policy: ActivationPolicy
    recomputed: Mapping[str, int]
    total: Mapping[str, int]

    def rows(self) -> list[tuple[str, int, int]]:
        """(class name, modules recomputed, modules in the model), the most frequent class first."""
        names = sorted(self.total, key=lambda name: (-self.total[name], name))
        return [(name, self.recomputed.get(name, 0), self.total[name]) for name in names]

    def __str__(self) -> str:
        return ", ".join(f"{name} {done} of {total}" for name, done, total in self.rows()) or "nothing to recompute"


def apply(model: nn.Module, policy: ActivationPolicy) -> Coverage:
    """Let `model` recompute in its backward passes what `policy` names. In place; names in the state dict stay.

    Call it once, before the model is wrapped for several processes (DDP, FSDP), and before or after LoRA is added.

    Args:
        model: one of the architectures of `policies`; for a mapping, any module.
        policy: one of `POLICIES`, or {pattern: true or false}, where a pattern matches module paths
            (`up_blocks.3.*`), class names (`TransformerTemporalModel`) or is the name of a policy; of several that
            match a module, the last one decides.

    Raises:
        ModelError: an unknown policy; a policy or a pattern that reaches no module of this model.
    """
    if any(isinstance(module, _Recomputed) for module in model.modules()) or getattr(
        model, "is_gradient_checkpointing", False
    ):
        raise ModelError("activation checkpointing was applied to this model before; build it anew for another policy")
    chosen = _chosen(model, policy)
    if policy == "diffusers":
        model.enable_gradient_checkpointing()  # type: ignore[operator]
    else:
        for path in chosen:
            module = model.get_submodule(path)
            module.__class__ = _recomputing(type(module))
    regions = tuple(chosen)
    return _coverage(
        model,
        policy,
        lambda path, _: path.startswith(tuple(f"{region}." for region in regions)) or path in regions,
    )


def policies(model: nn.Module) -> tuple[str, ...]:
    """The policies that reach something in this model, `none` included, in the order of `POLICIES`."""
    known = _REACHES.get(_class_name(model), {})
    return tuple(name for name in POLICIES if name == "none" or (name in known and _matched(model, known[name])))


@contextmanager
def counting(model: nn.Module, policy: ActivationPolicy) -> Iterator[list[Coverage]]:
    """Count which modules run again in the backward passes inside the `with` block.

    Args:
        model: after `apply`; not yet wrapped, or the wrapped one's `module`.
        policy: what was applied, for the report.

    Yields:
        A list that holds the `Coverage` once the block has ended.
    """
    ran: set[int] = set()

    def note(module: nn.Module, *_: object) -> None:
        if _in_backward():
            ran.add(id(module))

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    _OBSERVERS.append(note)
    result: list[Coverage] = []
    try:
        yield result
    finally:
        _OBSERVERS.remove(note)
        for handle in handles:
            handle.remove()
    result.append(_coverage(model, policy, lambda path, module: id(module) in ran))


#: Told of each run of a recomputed module's forward, which its own hooks do not see.
_OBSERVERS: list[Any] = []


class _Recomputed(nn.Module):
    """Mixed into the class of a module, in front: its forward runs again in the backward pass.

    A class rather than a changed `forward` attribute, since that one would still call the first model in a deep copy,
    and rather than a wrapping module, which would change the names in the state dict.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        forward = super().forward
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # One by one, since `checkpoint` saves as autograd does only what is a tensor itself: one inside a tuple or a
        # keyword argument would be held by reference, so that an outer region could not let go of it, and its device
        # would not be seen when the state of the random generators is kept.
        leaves, structure = tree_flatten((args, kwargs))

        def run(*leaves: Any) -> Any:
            for observer in _OBSERVERS:
                observer(self)
            args, kwargs = tree_unflatten(list(leaves), structure)
            return forward(*args, **kwargs)

        return checkpoint(run, *leaves, use_reentrant=False)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _recomputing(cls: type[nn.Module]) -> type[nn.Module]:
    if cls not in _CLASSES:
        _CLASSES[cls] = type(cls.__name__, (_Recomputed, cls), {"__module__": cls.__module__})
    return _CLASSES[cls]


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _class_name(module: nn.Module) -> str:
    return type(module).__name__.removeprefix("FSDP")  # `fully_shard` swaps the class


def _chosen(model: nn.Module, policy: ActivationPolicy) -> list[str]:
    """The paths of the modules that `policy` names, outer ones first."""
    if policy == "none":
        return []
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise ModelError(f"{policy!r} is no policy of activation checkpointing; known are {', '.join(POLICIES)}")
        known = _REACHES.get(_class_name(model), {})
        chosen = _matched(model, known.get(policy, ()))
        if not chosen:
            raise ModelError(
                f"the policy {policy!r} would recompute nothing in {_class_name(model)}; "
                f"here these do: {', '.join(policies(model)[1:]) or 'none of them, name modules by pattern'}"
            )
        return chosen
    return _by_patterns(model, policy)


def _by_patterns(model: nn.Module, patterns: Mapping[str, bool]) -> list[str]:
    known = _REACHES.get(_class_name(model), {})
    verdicts: dict[str, bool] = {}
    for pattern, recompute in patterns.items():
        if pattern in POLICIES:
            reached = _matched(model, known.get(pattern, ()))
        else:
            reached = _matched(model, (pattern,))
        if not reached:
            raise ModelError(
                f"activation: {pattern!r} reaches no module of {_class_name(model)}{_nearest(model, pattern)}"
            )
        verdicts |= dict.fromkeys(reached, recompute)
    chosen = [path for path, _ in _callable_modules(model) if verdicts.get(path)]
    if not chosen:
        raise ModelError("activation: these patterns recompute nothing; say 'none' if that is meant")
    return chosen


def _matched(model: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    """The paths that the patterns match, the last matching one deciding; one that starts with `!` takes away."""
    matched = []
    for path, module in _callable_modules(model):
        verdict = False
        for pattern in patterns:
            bare = pattern.removeprefix("!")
            if fnmatchcase(path, bare) or fnmatchcase(_class_name(module), bare):
                verdict = bare == pattern
        if verdict:
            matched.append(path)
    return matched


def _callable_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What can be a region: every module below the model that is called. Lists of modules are not."""
    for path, module in model.named_modules():
        if path and not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.ParameterList):
            yield path, module


def _nearest(model: nn.Module, pattern: str) -> str:
    names = {_class_name(module) for _, module in _callable_modules(model)} | {p for p, _ in _callable_modules(model)}
    near = difflib.get_close_matches(pattern, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _reported(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that a report counts: those that some policy of this architecture can reach."""
    known = _REACHES.get(_class_name(model), {})
    reached = {path for patterns in known.values() for path in _matched(model, patterns)}
    reached |= {path for path, module in model.named_modules() if isinstance(module, _Recomputed)}
    return [(path, module) for path, module in model.named_modules() if path in reached]


def _coverage(model: nn.Module, policy: ActivationPolicy, done: Callable[[str, nn.Module], bool]) -> Coverage:
    """The report on modules of which `done` says whether they are recomputed."""
    reported = _reported(model)
    recomputed = Counter(_class_name(module) for path, module in reported if done(path, module))
    return Coverage(policy, dict(recomputed), dict(Counter(_class_name(module) for _, module in reported)))
