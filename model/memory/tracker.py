"""What a piece of a training step holds in memory and computes, tensor by tensor, on real or on fake tensors.

A fake tensor has a shape and a type and no bytes, so a step of a model that fits on no machine at hand can be followed:
every storage is counted from the operation that makes it until Python and autograd have let go of it. That includes the
backward pass with its recomputations.

Not seen: what a kernel needs inside itself (workspaces, temporary copies), and the fragments of a caching allocator.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_aten = torch.ops.aten


class Tracker(TorchDispatchMode):
    """Counts bytes and floating-point operations of everything inside the `with` block.

    Args:
        held: tensors that are there before; they count from the start.
        weights: of these, the trained or frozen parameters: copies of them in another type are counted apart.

    Attributes:
        live: bytes of all storages that are alive now.
        casts: of these, copies of weights in another type, as autocast makes them.
        peak: most bytes alive at once so far.
        flops: floating-point operations so far, as `torch.utils.flop_counter` counts them.
    """

    def __init__(self, held: Iterable[torch.Tensor] = (), weights: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = self.casts = self.peak = self.flops = 0
        self._sizes: dict[int, int] = {}
        self._casts: set[int] = set()
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        for tensor in held:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if count := _FLOPS.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=result)
        cast = func is _aten._to_copy.default and args[0].untyped_storage()._cdata in self._weights
        for leaf in result if isinstance(result, tuple | list) else (result,):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf, cast)
        return result

    def _add(self, tensor: torch.Tensor, cast: bool = False) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = self._sizes[key] = storage.nbytes()
        self.live += size
        if cast:
            self.casts += size
            self._casts.add(key)
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        size = self._sizes.pop(key)
        self.live -= size
        if key in self._casts:
            self._casts.remove(key)
            self.casts -= size


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward_flops(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


#: torch counts the attention kernels of a GPU only.
_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}

#: What CUDA's autocast computes in float32, and a CPU's leaves in the type it comes in (ATen/autocast_mode.h).
_FLOAT32 = {
    *("acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt"),
    *("sinh", "tan", "pow", "softplus", "layer_norm", "native_layer_norm", "rms_norm", "group_norm", "norm"),
    *("cosine_similarity", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "kl_div", "nll_loss", "dist"),
    *("cdist", "renorm", "logsumexp", "interpolate", "prod", "softmax", "log_softmax", "cumprod", "cumsum", "sum"),
    *("vector_norm", "linalg_vector_norm"),
}


class _CudaAutocast(TorchFunctionMode):
    """Gives the functions of `_FLOAT32` their arguments in float32, as CUDA's autocast does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        if name in _FLOAT32 and torch.is_autocast_enabled("cpu") and kwargs.get("dtype") is None:
            args, kwargs = tree_map(_float32, (args, kwargs))
        return func(*args, **kwargs)


def _float32(value: Any) -> Any:
    low = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if low else value


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Inside, autocast of the CPU picks the types that CUDA's would, so that tensors without bytes can stand for it.

    torch has no fake tensors of a CUDA device where it was built without CUDA. For the backward pass, call `backward`.
    """
    with _CudaAutocast():
        yield


def backward(loss: torch.Tensor) -> None:
    """As `loss.backward()`, which would suspend `as_on_cuda`, while what is recomputed needs it."""
    engine = torch.autograd.graph._engine_run_backward
    engine((loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True)


def tensor_bytes(tensors: Any) -> int:
    """Bytes of the tensors in a nest of containers; one storage counts once."""
    storages = {leaf.untyped_storage()._cdata: leaf.untyped_storage() for leaf in tree_leaves(tensors)}
    return sum(storage.nbytes() for storage in storages.values())
