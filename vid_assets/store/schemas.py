"""Every table of the home: its key, its columns with their units, and the version of its schema.

A table that batches own slices of has `ingest_batch`. Each cached row carries two technical columns: `cache_key`
(what the row was made from; equal key = nothing to compute) and `content_hash` (what it holds; the data version of
a slice is the hash of these). Times are seconds on the presentation clock. NULL means not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

#: Bumped by hand when a table changes in a way that older homes do not have; kept in each table's metadata.
#: `store.migration` brings older ones to it.
SCHEMA_VERSION = "3"
VERSION_KEY = "vid_assets.schema_version"


@dataclass(frozen=True)
class TableSpec:
    """A table's name, key column(s), columns, and the columns that its content hash leaves out."""

    name: str
    key: tuple[str, ...]
    columns: tuple[pa.Field, ...]
    cached: bool = True
    not_content: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema with the technical columns and the schema version."""
        technical = (_text("cache_key"), _text("content_hash")) if self.cached else ()
        return pa.schema([*self.columns, *technical], metadata={VERSION_KEY: SCHEMA_VERSION})


def _text(name: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, pa.string(), nullable=nullable)


def _f64(name: str) -> pa.Field:
    return pa.field(name, pa.float64())


def _f32(name: str) -> pa.Field:
    return pa.field(name, pa.float32())


def _i64(name: str) -> pa.Field:
    return pa.field(name, pa.int64())


def _i32(name: str) -> pa.Field:
    return pa.field(name, pa.int32())


def _flag(name: str) -> pa.Field:
    return pa.field(name, pa.bool_())


def _blob(name: str) -> pa.Field:
    """A packed blob column: payloads of every size share `.blob` files, which a loader can map."""
    import lance

    return lance.blob_field(name, inline_size_threshold=0, dedicated_size_threshold=1 << 30)


def _specs() -> tuple[TableSpec, ...]:
    from vid_assets.curation.scores import METRICS

    key = _text("ingest_batch")
    sidecar = pa.struct([_text("uri"), _i64("size_bytes"), _text("etag")])
    series = pa.struct([_text("name"), pa.field("values", pa.list_(pa.float64()))])
    thumbnail = pa.struct([_f64("time_s"), pa.field("jpeg", pa.binary())])
    failure = pa.struct([_text("rule"), _f32("value"), _f32("limit")])
    event = pa.struct([_text("kind"), _f64("start_s"), _f64("end_s"), _f32("value")])
    stamp = pa.field("created_at", pa.timestamp("us", tz="UTC"))
    return (
        TableSpec(
            "sources",
            ("uri",),
            (
                _text("uri", nullable=False),
                _i64("size_bytes"),
                _text("etag"),
                _text("video_id"),
                _text("hashed_version"),
                key,
                pa.field("sidecars", pa.list_(sidecar)),
                _text("state"),
                stamp,
            ),
            cached=False,
        ),
        TableSpec(
            "videos",
            ("video_id",),
            (
                _text("video_id", nullable=False),
                _text("kind"),
                key,
                _i64("size_bytes"),
                _text("container"),
                _text("codec"),
                _text("pix_fmt"),
                _i32("stream_index"),
                _i32("width"),
                _i32("height"),
                _i32("rotation"),
                _flag("is_mirrored"),
                _f64("sample_aspect"),
                _i32("bit_depth"),
                _text("color_range"),
                _text("color_transfer"),
                _flag("is_hdr"),
                _flag("is_interlaced"),
                _f64("fps"),
                _flag("is_vfr"),
                _f64("duration_s"),
                _i64("claimed_frames"),
                _text("status"),
                _text("error"),
                _text("hit_limit"),
                _f64("limit_value"),
                _text("log"),
            ),
            not_content=("log",),  # threads print in any order
        ),
        TableSpec(
            "frame_stats",
            ("row_id",),
            (
                _text("row_id", nullable=False),
                _text("video_id"),
                key,
                _text("group"),
                _text("group_version"),
                pa.field("timestamps", pa.list_(pa.float64())),
                pa.field("stats", pa.list_(series)),
                pa.field("thumbnails", pa.list_(thumbnail)),
                pa.field("miniatures", pa.binary()),
                _f64("decoded_ratio"),
                _i64("corrupt_frames"),
                _i64("packet_errors"),
                _text("packet_hash"),
                _text("status"),
                _text("error"),
                _text("hit_limit"),
                _f64("limit_value"),
                _text("log"),
            ),
            not_content=("log",),  # threads print in any order
        ),
        TableSpec(
            "clips",
            ("clip_id",),
            (
                _text("clip_id", nullable=False),
                _text("video_id"),
                key,
                _f64("start_s"),
                _f64("end_s"),
                _i64("frame_count"),
                _text("kind"),
                _text("splitter"),
                _text("starts_with"),
                _text("ends_with"),
            ),
        ),
        TableSpec(
            "clip_scores",
            ("clip_id",),
            (
                _text("clip_id", nullable=False),
                key,
                *(_f32(name) for name in METRICS),
                # the clip's look and light, `curation.tracks.HASH_RATE` times a second from its start
                pa.field("hashes", pa.list_(pa.int64())),
                pa.field("quarters", pa.list_(pa.float32())),
                _text("packet_hash"),
                pa.field("crop", pa.list_(pa.int32())),
                pa.field("continuity", pa.list_(event)),
                _text("score_error"),
            ),
        ),
        TableSpec(
            "verdicts",
            ("clip_id",),
            (
                _text("clip_id", nullable=False),
                key,
                _flag("accepted"),
                pa.field("failures", pa.list_(failure)),
                _text("policy_version"),
            ),
        ),
        TableSpec(
            "duplicates",
            ("clip_id",),
            (
                _text("clip_id", nullable=False),
                _text("duplicate_of"),
                _i32("distance"),
                _text("kind"),  # exact, near, part (of a longer clip) or mirrored (all or a part of it)
                key,
            ),
        ),
        TableSpec(
            "captions",
            ("clip_id",),
            (
                _text("clip_id", nullable=False),
                key,
                _text("caption"),
                _text("origin"),
                _text("caption_key"),
                _text("error"),
            ),
        ),
        TableSpec(
            "embeddings",
            ("key",),
            (
                _text("key", nullable=False),
                _text("kind"),
                _text("caption_key"),
                _text("encoder_hash"),
                _i32("tokens"),
                _i32("dim"),
                _text("dtype"),
                _text("checksum"),
                _i32("cut_tokens"),  # beyond max_tokens, and left out
                _text("status"),
                _text("error"),
                _blob("embedding"),
            ),
            cached=False,
        ),
        TableSpec(
            "latents",
            ("sample_id",),
            (
                _text("sample_id", nullable=False),
                _text("source_hash"),
                _i32("stream_index"),
                _i32("rotation"),
                _f64("start_s"),
                _text("clock"),
                _f64("fps"),
                _i32("frames"),
                _i32("height"),
                _i32("width"),
                _text("transform"),
                _text("decoder"),
                _text("vae"),
                _text("weights_hash"),
                _text("encode_settings"),
                _text("posterior"),
                _text("code_version"),
                _text("dtype"),
                pa.field("shape", pa.list_(pa.int32())),
                _text("checksum"),
                _text("status"),
                _text("error"),
                _blob("latent"),
            ),
            cached=False,
        ),
        TableSpec(
            "samples",
            ("row_id",),
            (
                _text("row_id", nullable=False),
                _text("sample_id"),
                _text("clip_id"),
                _text("video_id"),
                key,
                _text("bucket"),
                _text("kind"),
                _text("caption_key"),
            ),
        ),
        TableSpec(
            "first_frames",
            ("sample_id",),
            (
                _text("sample_id", nullable=False),
                _text("video_id"),
                key,
                _text("image_key"),
            ),
        ),
        TableSpec(
            "splits",
            ("video_id",),
            (_text("video_id", nullable=False), _text("group_video"), _text("split"), stamp),
            cached=False,
        ),
        TableSpec(
            "training_sets",
            ("digest",),
            (
                _text("digest", nullable=False),
                _text("stage"),
                _i64("latents_version"),
                _i64("members_version"),
                _i64("embeddings_version"),
                _text("tag"),
                _i64("videos"),
                _i64("images"),
                _i64("train"),
                _i64("heldout"),
                stamp,
            ),
            cached=False,
        ),
        TableSpec(
            "training_set_members",
            ("member_id",),
            (
                _text("member_id", nullable=False),
                _text("digest"),
                _text("sample_id"),
                _text("caption_key"),
                _text("embedding_key"),
                _text("pooled_key"),
                _text("image_key"),
                _text("split"),
                _text("bucket"),
                _text("kind"),
            ),
            cached=False,
        ),
        TableSpec(
            "runs",
            ("run_key",),
            (
                _text("run_key", nullable=False),
                _text("experiment"),
                _text("stage"),
                _text("digest"),
                _i64("latents_version"),
                _text("vae_weights_hash"),
                _text("parent"),
                _text("recipe"),
                _text("folder"),
                _text("weights_hash"),
                _text("dagster_run_id"),
                stamp,
            ),
            cached=False,
        ),
        TableSpec(
            "metrics",
            ("metric_id",),
            (
                _text("metric_id", nullable=False),
                _text("run_key"),
                _text("name"),
                _i64("step"),
                _f64("value"),
            ),
            cached=False,
        ),
        TableSpec(
            "removals",
            ("video_id",),
            (
                _text("video_id", nullable=False),
                pa.field("uris", pa.list_(pa.string())),
                pa.field("sample_ids", pa.list_(pa.string())),
                pa.field("digests", pa.list_(pa.string())),  # of training sets that had samples of it
                pa.field("checkpoints", pa.list_(pa.string())),  # folders of runs that were trained on it
                stamp,
                pa.field("finished_at", pa.timestamp("us", tz="UTC")),
            ),
            cached=False,
        ),
    )


_TABLES: dict[str, TableSpec] = {}


def table_spec(name: str) -> TableSpec:
    """The spec of the table called `name`. Built on first use, because a blob field needs Lance."""
    if not _TABLES:
        _TABLES.update({spec.name: spec for spec in _specs()})
    return _TABLES[name]


def table_names() -> list[str]:
    """All tables, in the order in which the chain fills them."""
    table_spec("sources")
    return list(_TABLES)
