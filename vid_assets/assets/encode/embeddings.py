"""Rows of the table `embeddings`, of whatever kind: making those that are missing, flush by flush, and their digest.

An embedding that cannot be made is a row with the reason; it is tried again on the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.errors import first_line
from model.vaes.space import DTYPE_BYTES
from vid_assets.digests import digest
from vid_assets.store.cache import Output
from vid_assets.store.tables import Row, Store

if TYPE_CHECKING:
    import torch

_BATCH = 16
_COLUMNS = ["key", "tokens", "dim", "dtype", "cut_tokens", "status", "error"]


@dataclass(frozen=True)
class Made:
    """One embedding: states (tokens, dim) on the CPU in the dtype that they are stored in; tokens that were cut."""

    states: torch.Tensor
    cut_tokens: int | None = None


@dataclass(frozen=True)
class Tally:
    """The rows that are there for what was wanted, by key and without their bytes, and how many were made now."""

    rows: dict[str, Row]
    computed: int

    @property
    def bytes(self) -> int:
        """What the states take up in the table."""
        return sum(
            row["tokens"] * row["dim"] * DTYPE_BYTES[row["dtype"]] for row in self.rows.values() if row["tokens"]
        )


def complete(
    store: Store,
    wanted: Iterable[str],
    make: Callable[[list[str]], Iterable[Row]],
    *,
    flush_rows: int,
    force: bool = False,
    progress: Callable[[str], None] = print,
) -> Tally:
    """Have a row for each wanted key: `make` gives those that are missing or failed, written `flush_rows` at a time."""
    keys = sorted(set(wanted))
    there = stored(store, keys)
    misses = [key for key in keys if force or there.get(key, {}).get("status") != "ok"]
    pending: list[Row] = []
    done = 0

    def flush() -> None:
        nonlocal done
        replace = "true" if force else "target.status = 'failed'"
        store.insert_absent("embeddings", pending, replace_where=replace)
        done += len(pending)
        pending.clear()
        progress(f"{done} of {len(misses)}")

    for row in make(misses) if misses else ():
        pending.append(row)
        if len(pending) >= flush_rows:
            flush()
    if pending:
        flush()
    return Tally(stored(store, keys), len(misses))


def rows(kind: str, encoder: str, keys: Sequence[str], encode: Callable[[list[str]], list[Made]]) -> Iterator[Row]:
    """A row for each key. `encode` gives the embeddings of some; where it fails, each is tried alone."""
    for start in range(0, len(keys), _BATCH):
        yield from _rows(kind, encoder, list(keys[start : start + _BATCH]), encode)


def _rows(kind: str, encoder: str, keys: list[str], encode: Callable[[list[str]], list[Made]]) -> Iterator[Row]:
    try:
        made = encode(keys)
    except (RuntimeError, ValueError) as error:
        if len(keys) > 1:  # one may be at fault, or the batch too large for memory
            for key in keys:
                yield from _rows(kind, encoder, [key], encode)
        else:
            yield failed(kind, encoder, keys[0], f"the encoder failed: {first_line(error)}")
        return
    for key, one in zip(keys, made, strict=True):
        yield _row(kind, encoder, key, one)


def _row(kind: str, encoder: str, key: str, made: Made) -> Row:
    import torch

    states = made.states.contiguous()
    finite = torch.isfinite(states)
    if not finite.all():
        share = 1 - finite.double().mean().item()
        return failed(kind, encoder, key, f"the encoder gave values that are not finite ({share:.1%} of them)")
    payload = states.view(torch.uint8).numpy().tobytes()
    return {
        "key": key,
        "kind": kind,
        "encoder_hash": encoder,
        "tokens": states.shape[0],
        "dim": states.shape[1],
        "dtype": str(states.dtype).removeprefix("torch."),
        "checksum": hashlib.sha256(payload).hexdigest(),
        "cut_tokens": made.cut_tokens,
        "status": "ok",
        "error": None,
        "embedding": payload,
    }


def failed(kind: str, encoder: str, key: str, error: str) -> Row:
    """The row of an embedding that could not be made."""
    return {"key": key, "kind": kind, "encoder_hash": encoder, "status": "failed", "error": error, "embedding": None}


def stored(store: Store, keys: Iterable[str]) -> dict[str, Row]:
    """The rows that are there, without their bytes, by key."""
    return {row["key"]: row for row in store.read_many("embeddings", "key", keys, _COLUMNS)}


def version(store: Store, wanted: Iterable[Iterable[str]]) -> str:
    """Hash of the embeddings that are there, and of whether they are sound; no float is in it."""
    return digest([_standing(stored(store, keys)) for keys in wanted])


def _standing(found: Mapping[str, Row]) -> list[Any]:
    return sorted((key, row["status"]) for key, row in found.items())


def output(tallies: Sequence[Tally], facts: dict[str, Any]) -> Output:
    """The outcome of an asset that completed some kinds of embeddings; its version is that of `version`."""
    content = digest([_standing(tally.rows) for tally in tallies])
    total, computed = sum(len(tally.rows) for tally in tallies), sum(tally.computed for tally in tallies)
    retry = any(row["status"] != "ok" for tally in tallies for row in tally.rows.values())
    return Output(content, content, total, computed, total - computed, retry, facts)
