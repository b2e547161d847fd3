"""Tables of `curate`: statistics, shots, scores, verdicts, duplicates."""

from __future__ import annotations

import pyarrow as pa

from vid_assets.curation.metrics import METRICS
from vid_assets.store.schemas.base import INGEST_BATCH, TableSpec, f32, f64, flag, i32, i64, text


def tables() -> tuple[TableSpec, ...]:
    """In the order in which they are filled."""
    series = pa.struct([text("name"), pa.field("values", pa.list_(pa.float64()))])
    thumbnail = pa.struct([f64("time_s"), pa.field("jpeg", pa.binary())])
    failure = pa.struct([text("rule"), f32("value"), f32("limit")])
    event = pa.struct([text("kind"), f64("start_s"), f64("end_s"), f32("value")])
    return (
        TableSpec(
            "frame_stats",
            ("row_id",),
            (
                text("row_id", nullable=False),
                text("video_id"),
                INGEST_BATCH,
                text("group"),
                text("group_version"),
                pa.field("timestamps", pa.list_(pa.float64())),
                pa.field("stats", pa.list_(series)),
                pa.field("thumbnails", pa.list_(thumbnail)),
                pa.field("miniatures", pa.binary()),
                f64("decoded_ratio"),
                i64("corrupt_frames"),
                i64("packet_errors"),
                text("packet_hash"),
                text("status"),
                text("error"),
                text("hit_limit"),
                f64("limit_value"),
                text("log"),
            ),
            not_content=("log",),  # threads print in any order
            of_video=("video_id",),
        ),
        TableSpec(
            "clips",
            ("clip_id",),
            (
                text("clip_id", nullable=False),
                text("video_id"),
                INGEST_BATCH,
                f64("start_s"),
                f64("end_s"),
                i64("frame_count"),
                text("kind"),
                text("splitter"),
                text("starts_with"),
                text("ends_with"),
            ),
            of_video=("video_id",),
        ),
        TableSpec(
            "clip_scores",
            ("clip_id",),
            (
                text("clip_id", nullable=False),
                INGEST_BATCH,
                *(f32(name) for name in METRICS),
                # the clip's look and light, `curation.tracks.HASH_RATE` times a second from its start
                pa.field("hashes", pa.list_(pa.int64())),
                pa.field("quarters", pa.list_(pa.float32())),
                text("packet_hash"),
                pa.field("crop", pa.list_(pa.int32())),
                pa.field("continuity", pa.list_(event)),
                text("score_error"),
            ),
            of_video=("clip_id",),
        ),
        TableSpec(
            "verdicts",
            ("clip_id",),
            (
                text("clip_id", nullable=False),
                INGEST_BATCH,
                flag("accepted"),
                pa.field("failures", pa.list_(failure)),
                text("policy_version"),
            ),
            of_video=("clip_id",),
        ),
        TableSpec(
            "duplicates",
            ("clip_id",),
            (
                text("clip_id", nullable=False),
                text("duplicate_of"),
                i32("distance"),
                text("kind"),  # exact, near, part (of a longer clip) or mirrored (all or a part of it)
                INGEST_BATCH,
            ),
            of_video=("clip_id", "duplicate_of"),
        ),
    )
