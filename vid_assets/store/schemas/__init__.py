"""Every table of the home, by the groups of the assets that fill them: its key, and its columns with their units.

A table that batches own slices of has `ingest_batch`. Each cached row carries two technical columns: `cache_key`
(what the row was made from; equal key = nothing to compute) and `content_hash` (what it holds; the data version of
a slice is the hash of these). Times are seconds on the presentation clock. NULL means not measured.
"""

from __future__ import annotations

from functools import cache

from vid_assets.store.schemas import curate, encode, home, ingest, train
from vid_assets.store.schemas.base import TableSpec


@cache
def _tables() -> dict[str, TableSpec]:
    """Built on first use, because a blob field needs Lance."""
    return {spec.name: spec for group in (ingest, curate, encode, train, home) for spec in group.tables()}


def table_spec(name: str) -> TableSpec:
    """The spec of the table called `name`."""
    return _tables()[name]


def table_names() -> list[str]:
    """All tables, in the order in which the chain fills them."""
    return list(_tables())
