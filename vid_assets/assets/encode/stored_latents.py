"""Latents read back from their table: their rows without the bytes, their status, or their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vid_assets.store.tables import Row, Store, one_of

#: Latents whose bytes are in memory at a time.
_AT_ONCE = 16


def stored(store: Store, sample_ids: Iterable[str], columns: Sequence[str]) -> dict[str, Row]:
    """The latents that are there, without their blobs, by sample_id."""
    rows = store.read_many("latents", "sample_id", sample_ids, ["sample_id", *columns])
    return {row["sample_id"]: row for row in rows}


def statuses(store: Store, sample_ids: Iterable[str]) -> dict[str, str]:
    """The status of each latent that is there."""
    return {sample_id: row["status"] for sample_id, row in stored(store, sample_ids, ["status"]).items()}


def stored_latents(store: Store, sample_ids: Iterable[str]) -> Iterator[tuple[Row, bytes]]:
    """The rows and bytes of latents that were encoded, some at a time."""
    ids = sorted(set(sample_ids))
    for start in range(0, len(ids), _AT_ONCE):
        where = one_of("sample_id", ids[start : start + _AT_ONCE]) + " AND status = 'ok'"
        yield from store.read_blobs("latents", where, "latent")
