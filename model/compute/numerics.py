"""What numbers depend on beside weights and data: device, precision and seed. torch is imported in the functions."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`; anything else stays. A missing GPU is an error."""
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise RuntimeError(f"device {device!r} was asked for, but torch sees no CUDA device; use auto or cpu")
    return device


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """The context in which a model computes in `precision`: `fp32`, `bf16` or `fp16`."""
    import torch

    if precision == "fp32":
        return contextlib.nullcontext()
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(torch.device(device).type, dtypes[precision])


def seed_of(name: str) -> int:
    """63 bits of the SHA-256 of `name`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator_of(name: str) -> torch.Generator:
    """A generator on the CPU whose stream only `name` decides, on any machine with this torch."""
    import torch

    return torch.Generator().manual_seed(seed_of(name))
