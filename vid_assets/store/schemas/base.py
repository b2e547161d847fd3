"""What a table is, and how its columns are written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: Kept in each table's metadata, and bumped by hand when a table changes in a way that its columns do not tell; that a
#: column is new, its absence tells. `store.migration` brings older tables to this release.
SCHEMA_VERSION = "3"
VERSION_KEY = "vid_assets.schema_version"


@dataclass(frozen=True)
class TableSpec:
    """A table.

    Attributes:
        cached: its rows have the technical columns.
        not_content: columns that the content hash leaves out.
        of_video: columns by which a row belongs to a video (its id, its source's hash, one of its clips), so that it
            goes when the video is taken down; none for rows that stay, or that others may share.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[pa.Field, ...]
    cached: bool = True
    not_content: tuple[str, ...] = ()
    of_video: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema with the technical columns and the schema version."""
        technical = (text("cache_key"), text("content_hash")) if self.cached else ()
        return pa.schema([*self.columns, *technical], metadata={VERSION_KEY: SCHEMA_VERSION})


def text(name: str, nullable: bool = True) -> pa.Field:
    """A column of text."""
    return pa.field(name, pa.string(), nullable=nullable)


def f64(name: str) -> pa.Field:
    """A column of numbers, 64 bits."""
    return pa.field(name, pa.float64())


def f32(name: str) -> pa.Field:
    """A column of numbers, 32 bits."""
    return pa.field(name, pa.float32())


def i64(name: str) -> pa.Field:
    """A column of whole numbers, 64 bits."""
    return pa.field(name, pa.int64())


def i32(name: str) -> pa.Field:
    """A column of whole numbers, 32 bits."""
    return pa.field(name, pa.int32())


def flag(name: str) -> pa.Field:
    """A column of truth values."""
    return pa.field(name, pa.bool_())


def blob(name: str) -> pa.Field:
    """A packed blob column: payloads of every size share `.blob` files, which a loader can map."""
    import lance

    return lance.blob_field(name, inline_size_threshold=0, dedicated_size_threshold=1 << 30)


#: The batch that owns the row, of tables of which batches own slices; and when the row was written.
INGEST_BATCH = text("ingest_batch")
CREATED_AT = pa.field("created_at", pa.timestamp("us", tz="UTC"))
