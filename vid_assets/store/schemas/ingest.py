"""Tables of `ingest`: which files there are, and what their headers say."""

from __future__ import annotations

import pyarrow as pa

from vid_assets.store.schemas.base import CREATED_AT, INGEST_BATCH, TableSpec, f64, flag, i32, i64, text


def tables() -> tuple[TableSpec, ...]:
    """In the order in which they are filled."""
    sidecar = pa.struct([text("uri"), i64("size_bytes"), text("etag")])
    return (
        TableSpec(
            "sources",
            ("uri",),
            (
                text("uri", nullable=False),
                i64("size_bytes"),
                text("etag"),
                text("video_id"),
                text("hashed_version"),
                INGEST_BATCH,
                pa.field("sidecars", pa.list_(sidecar)),
                text("state"),
                CREATED_AT,
            ),
            cached=False,
        ),
        TableSpec(
            "videos",
            ("video_id",),
            (
                text("video_id", nullable=False),
                text("kind"),
                INGEST_BATCH,
                i64("size_bytes"),
                text("container"),
                text("codec"),
                text("pix_fmt"),
                i32("stream_index"),
                i32("width"),
                i32("height"),
                i32("rotation"),
                flag("is_mirrored"),
                f64("sample_aspect"),
                i32("bit_depth"),
                text("color_range"),
                text("color_transfer"),
                flag("is_hdr"),
                flag("is_interlaced"),
                f64("fps"),
                flag("is_vfr"),
                f64("duration_s"),
                i64("claimed_frames"),
                text("status"),
                text("error"),
                text("hit_limit"),
                f64("limit_value"),
                text("log"),
            ),
            not_content=("log",),  # threads print in any order
            of_video=("video_id",),
        ),
    )
