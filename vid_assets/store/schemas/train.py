"""Tables of `train`: splits, training sets, runs and their curves."""

from __future__ import annotations

from model.data.kinds import KINDS
from vid_assets.store.schemas.base import CREATED_AT, TableSpec, f64, i64, text


def tables() -> tuple[TableSpec, ...]:
    """In the order in which they are filled."""
    return (
        TableSpec(
            "splits",
            ("video_id",),
            (text("video_id", nullable=False), text("group_video"), text("split"), CREATED_AT),
            cached=False,
        ),
        TableSpec(
            "training_sets",
            ("digest",),
            (
                text("digest", nullable=False),
                text("stage"),
                i64("latents_version"),
                i64("members_version"),
                i64("embeddings_version"),
                text("tag"),
                i64("videos"),
                i64("images"),
                i64("train"),
                i64("heldout"),
                CREATED_AT,
            ),
            cached=False,
        ),
        TableSpec(
            "training_set_members",
            ("member_id",),
            (
                text("member_id", nullable=False),
                text("digest"),
                text("sample_id"),
                text("caption_key"),
                *(text(kind.column) for kind in KINDS.values()),
                text("split"),
                text("bucket"),
                text("kind"),
            ),
            cached=False,
        ),
        TableSpec(
            "runs",
            ("run_key",),
            (
                text("run_key", nullable=False),
                text("experiment"),
                text("stage"),
                text("digest"),
                i64("latents_version"),
                text("vae_weights_hash"),
                text("parent"),
                text("recipe"),
                text("folder"),
                text("weights_hash"),
                text("dagster_run_id"),
                CREATED_AT,
            ),
            cached=False,
        ),
        TableSpec(
            "metrics",
            ("metric_id",),
            (
                text("metric_id", nullable=False),
                text("run_key"),
                text("name"),
                i64("step"),
                f64("value"),
            ),
            cached=False,
        ),
    )
