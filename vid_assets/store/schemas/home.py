"""Tables that a home keeps beside its data."""

from __future__ import annotations

import pyarrow as pa

from vid_assets.store.schemas.base import CREATED_AT, TableSpec, text


def tables() -> tuple[TableSpec, ...]:
    """In the order in which they are filled."""
    return (
        TableSpec(
            "removals",
            ("video_id",),
            (
                text("video_id", nullable=False),
                pa.field("uris", pa.list_(pa.string())),
                pa.field("sample_ids", pa.list_(pa.string())),
                pa.field("digests", pa.list_(pa.string())),  # of training sets that had samples of it
                pa.field("checkpoints", pa.list_(pa.string())),  # folders of runs that were trained on it
                CREATED_AT,
                pa.field("finished_at", pa.timestamp("us", tz="UTC")),
            ),
            cached=False,
        ),
    )
