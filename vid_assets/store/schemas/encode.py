"""Tables of `encode`: captions, states of encoders, latents, and which sample has which."""

from __future__ import annotations

import pyarrow as pa

from vid_assets.store.schemas.base import INGEST_BATCH, TableSpec, blob, f64, i32, text


def tables() -> tuple[TableSpec, ...]:
    """In the order in which they are filled."""
    return (
        TableSpec(
            "captions",
            ("clip_id",),
            (
                text("clip_id", nullable=False),
                INGEST_BATCH,
                text("caption"),
                text("origin"),
                text("caption_key"),
                text("error"),
            ),
            of_video=("clip_id",),
        ),
        TableSpec(
            "embeddings",
            ("key",),
            (
                text("key", nullable=False),
                text("kind"),
                text("caption_key"),
                text("encoder_hash"),
                i32("tokens"),
                i32("dim"),
                text("dtype"),
                text("checksum"),
                i32("cut_tokens"),  # beyond max_tokens, and left out
                text("status"),
                text("error"),
                blob("embedding"),
            ),
            cached=False,
        ),
        TableSpec(
            "latents",
            ("sample_id",),
            (
                text("sample_id", nullable=False),
                text("source_hash"),
                i32("stream_index"),
                i32("rotation"),
                f64("start_s"),
                text("clock"),
                f64("fps"),
                i32("frames"),
                i32("height"),
                i32("width"),
                text("transform"),
                text("decoder"),
                text("vae"),
                text("weights_hash"),
                text("encode_settings"),
                text("posterior"),
                text("code_version"),
                text("dtype"),
                pa.field("shape", pa.list_(pa.int32())),
                text("checksum"),
                text("status"),
                text("error"),
                blob("latent"),
            ),
            cached=False,
            of_video=("source_hash",),
        ),
        TableSpec(
            "samples",
            ("row_id",),
            (
                text("row_id", nullable=False),
                text("sample_id"),
                text("clip_id"),
                text("video_id"),
                INGEST_BATCH,
                text("bucket"),
                text("kind"),
                text("caption_key"),
            ),
            of_video=("video_id",),
        ),
        TableSpec(
            "first_frames",
            ("sample_id",),
            (
                text("sample_id", nullable=False),
                text("video_id"),
                INGEST_BATCH,
                text("image_key"),
            ),
            of_video=("video_id",),
        ),
    )
