"""Encoder states that condition samples, from the table of embeddings, by key.

Belongs here: which row a key has, and its bytes as a tensor. Which sample has which keys is
`model.data.training_set`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.data.blobs import BlobColumn, DataError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
#: Of each, an integer of its width with the bits of its exponent set: all of them are in an infinity and a NaN alone.
_EXPONENTS: dict[str, np.uint32 | np.uint16] = {
    "float32": np.uint32(0x7F800000),
    "float16": np.uint16(0x7C00),
    "bfloat16": np.uint16(0x7F80),
}


@dataclass(frozen=True)
class _Row:
    """Where the states of one key lie, and what they are."""

    place: int
    kind: str
    dtype: str
    shape: tuple[int, int]


class EncoderStates:
    """The states of some keys at one version of the table of embeddings.

    Args:
        uri, version: the table.
        wanted: key -> kind, see `model.data.kinds`.

    Raises:
        DataError: a key has no row of its kind, or bytes that do not fit its shape.
    """

    def __init__(self, uri: str, version: int, wanted: Mapping[str, str]) -> None:
        self._column = BlobColumn(uri, version, "embedding")
        self._rows: dict[str, _Row] = {}
        self._finite: set[str] = set()
        for place, row in enumerate(self._column.select("key", sorted(wanted), ["kind", "tokens", "dim", "dtype"])):
            if row["kind"] == wanted[row["key"]]:
                shape = (row["tokens"], row["dim"])
                check_size(f"{row['kind']} states of {row['key']}", row["dtype"], shape, row["size"])
                self._rows.setdefault(row["key"], _Row(place, row["kind"], row["dtype"], shape))
        for key, kind in sorted(wanted.items()):
            if key not in self._rows:
                whose = "the caption " if kind == "text" else ""
                raise DataError(f"{self._column.where} holds no {kind} states of {whose}{key}")

    def dim(self, kind: str) -> int | None:
        """Size of one state of `kind`, None when there is none; several sizes are a `DataError`."""
        dims = {row.shape[1] for row in self._rows.values() if row.kind == kind}
        if len(dims) > 1:
            raise DataError(f"{kind} states of this training set have several sizes: {sorted(dims)}")
        return dims.pop() if dims else None

    def read(self, keys: Sequence[str | None]) -> list[torch.Tensor | None]:
        """States (tokens, dim), float32, of keys; None gives None. A key that comes twice shares its tensor."""
        rows = {key: self._rows[key] for key in keys if key is not None}
        parts = [np.empty(math.prod(row.shape) * DTYPES[row.dtype].itemsize, np.uint8) for row in rows.values()]
        self._column.read([row.place for row in rows.values()], parts)
        states: dict[str, torch.Tensor] = {}
        for (key, row), part in zip(rows.items(), parts, strict=True):
            states[key] = torch.from_numpy(part).view(DTYPES[row.dtype]).view(row.shape).float()
            if key not in self._finite:
                if not all_finite(part, row.dtype):
                    raise DataError(f"{row.kind} states of {key}: holds values that are not finite")
                self._finite.add(key)
        return [None if key is None else states[key] for key in keys]


def all_finite(part: np.ndarray, dtype: str) -> bool:
    """Whether bytes hold neither an infinity nor a NaN; 20 times as fast as torch's `isfinite` on float16."""
    exponent = _EXPONENTS[dtype]
    values = part.view(exponent.dtype)
    return not values.size or bool((values & exponent).max() != exponent)


def check_size(what: str, dtype: str, shape: Sequence[int], stored: int | None) -> None:
    """Raise `DataError` unless the bytes in the table are as many as dtype and shape say."""
    if dtype not in DTYPES:
        raise DataError(f"{what}: unknown dtype {dtype!r}; known are {', '.join(DTYPES)}")
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if stored != expected:
        raise DataError(f"{what}: {stored} bytes stored, but {dtype} {tuple(shape)} has {expected}")
