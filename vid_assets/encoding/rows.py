"""A row of the table `latents`: moments brought to what is stored, and read back. Belongs here: those bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vid_assets.encoding.content_key import LatentParts


def latent_row(parts: LatentParts, moments: np.ndarray) -> dict[str, Any]:
    """The row of a latent from its float32 moments (2C, f, h, w), mean first; a failed one where they are not finite.

    What `parts.posterior` names is stored, in `parts.dtype`, as the VAE gave it: neither clamped nor scaled. A value
    that is too large for the stored type makes the row a failed one too.
    """
    if not np.isfinite(moments).all():
        share = float(np.mean(~np.isfinite(moments)))
        return failed_row(parts, f"the VAE gave values that are not finite ({share:.1%} of the latent)")
    kept = moments if parts.posterior.startswith("moments") else moments[: len(moments) // 2]
    payload = to_bytes(kept, parts.dtype)
    if not np.isfinite(from_bytes(payload, parts.dtype, kept.shape)).all():
        largest = float(np.abs(kept).max())
        return failed_row(
            parts, f"a value of {largest:.4g} does not fit into encoding.dtype {parts.dtype}; use bfloat16 or float32"
        )
    return _identity(parts) | {
        "shape": list(kept.shape),
        "checksum": hashlib.sha256(payload).hexdigest(),
        "status": "ok",
        "error": None,
        "latent": payload,
    }


def failed_row(parts: LatentParts, error: str) -> dict[str, Any]:
    """The row of a window that has no latent, and why."""
    return _identity(parts) | {"status": "failed", "error": error, "latent": None}


def _identity(parts: LatentParts) -> dict[str, Any]:
    return {"sample_id": parts.sample_id, **asdict(parts)}


def to_bytes(values: np.ndarray, dtype: str) -> bytes:
    """Finite float32 values as bytes of `dtype`, rounded to nearest, ties to even; too large ones become infinite."""
    with np.errstate(over="ignore"):
        if dtype != "bfloat16":
            return np.ascontiguousarray(values, dtype={"float32": "<f4", "float16": "<f2"}[dtype]).tobytes()
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()  # numpy has no bfloat16


def from_bytes(payload: bytes, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """What `to_bytes` made, as float32 in `shape`. Raises `ValueError` where the number of bytes does not fit."""
    if dtype == "bfloat16":
        values = (np.frombuffer(payload, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(payload, {"float32": "<f4", "float16": "<f2"}[dtype])
    return values.astype(np.float32).reshape(shape)
