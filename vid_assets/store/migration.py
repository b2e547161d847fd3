"""Bringing a home that an older release wrote to this release's tables. Belongs here: what changes between versions.

Since version 1 tables only gained columns. A new column is NULL, not measured, in the rows that are there; the rows
are computed again where the code version of their asset says so.
"""

from __future__ import annotations

import pyarrow as pa

from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.schemas.base import SCHEMA_VERSION, VERSION_KEY
from vid_assets.store.tables import Store, StoreError, absent_columns, schema_version


def migrate(store: Store) -> list[str]:
    """Add the columns that tables of older versions lack; returns one line for each table that changed.

    Raises `StoreError`, before anything was changed, where a table is of a newer release or of none. Killed at any
    moment, it can be run again.
    """
    older = [name for name in table_names() if store.exists(name) and _is_older(store, name)]
    return [f"{name}: {_migrate(store, name)}" for name in older]


def _is_older(store: Store, name: str) -> bool:
    found = schema_version(store.open(name))
    if not found.isdigit() or int(found) > int(SCHEMA_VERSION):
        raise StoreError(
            f"{store.table_uri(name)} has schema version {found}, this release reads {SCHEMA_VERSION} and can bring "
            f"older ones to it, but not this one. Use the release that wrote it; nothing was changed."
        )
    return found != SCHEMA_VERSION or bool(absent_columns(store.open(name), table_spec(name)))


def _migrate(store: Store, name: str) -> str:
    with store.writing(name):
        dataset = store.open(name).to_lance()
        absent = absent_columns(dataset, table_spec(name))
        if absent:
            dataset.add_columns(pa.schema(absent))
        dataset.update_schema_metadata({VERSION_KEY: SCHEMA_VERSION})
    added = ", ".join(field.name for field in absent)
    return f"gained {added}" if added else "nothing to add"
