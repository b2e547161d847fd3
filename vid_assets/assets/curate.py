"""Curation: `frame_stats`, `clips`, `clip_scores`, `curated_clips` and `duplicates`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from vid_assets.assets.base import StageConfig, dagster_code_version, execute, key_of
from vid_assets.automation import follow_changes
from vid_assets.partitions import ingest_batch
from vid_assets.project import Project
from vid_assets.stages import all_stages

#: Name of the asset -> inputs, table, kinds, what it does.
_BATCH_ASSETS: dict[str, tuple[tuple[str, ...], str, set[str], str]] = {
    "frame_stats": (
        ("raw_videos",),
        "frame_stats",
        {"ffmpeg", "opencv", "lancedb"},
        "The one decode of curation: proves each file whole, keeps timestamps, per-frame statistics and thumbnails.",
    ),
    "clips": (
        ("raw_videos", "frame_stats"),
        "clips",
        {"python", "lancedb"},
        "Divides each video at its shot boundaries, on the presentation clock, from the statistics. Opens no video.",
    ),
    "clip_scores": (
        ("raw_videos", "frame_stats", "clips"),
        "clip_scores",
        {"numpy", "lancedb"},
        "Every metric for every clip, no threshold. NULL means not measured. Opens no video.",
    ),
    "curated_clips": (
        ("clips", "clip_scores"),
        "verdicts",
        {"python", "lancedb"},
        "The policy's verdict on every clip, with all failing rules, their values and limits. Opens no video.",
    ),
}


def build(project: Project) -> list[dg.AssetsDefinition]:
    """The assets of this file for a configuration."""
    stages, config = all_stages(project.config), project.config

    def batch_asset(name: str) -> dg.AssetsDefinition:
        inputs, table, kinds, description = _BATCH_ASSETS[name]

        @dg.asset(
            name=name,
            partitions_def=ingest_batch,
            deps=[key_of(one) for one in inputs],
            group_name="curate",
            kinds=kinds,
            code_version=dagster_code_version(stages[name], config),
            automation_condition=follow_changes(),
            description=description,
        )
        def asset(
            context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
        ) -> dg.MaterializeResult:
            from vid_assets.steps import curation, frame_stats

            step = getattr(frame_stats if name == "frame_stats" else curation, name)
            return execute(
                context,
                project,
                name,
                lambda project, batch, progress: step(project, str(batch), config.force, progress),
                force=config.force,
                views=_sheets if name == "curated_clips" else None,
                table=table,
            )

        return asset

    @dg.asset(
        deps=[key_of(name) for name in ("source_files", "raw_videos", "clip_scores", "curated_clips")],
        group_name="curate",
        kinds={"numpy", "lancedb"},
        code_version=dagster_code_version(stages["duplicates"], config),
        automation_condition=follow_changes(ignore=("source_files",)),
        description="Compares the kept clips of all batches: which one loses to which better copy. Opens no video.",
    )
    def duplicates(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps.duplicates import duplicates

        return execute(
            context,
            project,
            "duplicates",
            lambda project, _, progress: duplicates(project, config.force, progress),
            force=config.force,
            views=_pairs,
            table="duplicates",
        )

    return [*(batch_asset(name) for name in _BATCH_ASSETS), duplicates]


def _sheets(project: Project, batch: str | None, facts: Mapping[str, Any], redraw: bool) -> Mapping[str, Any]:
    """Contact sheets of kept and of rejected clips, score histograms, and the funnel, as metadata."""
    from vid_assets.steps.curation_views import curation_views

    return {name: dg.MetadataValue.md(text) for name, text in curation_views(project, str(batch)).items()}


def _pairs(project: Project, batch: str | None, facts: Mapping[str, Any], redraw: bool) -> Mapping[str, Any]:
    """Each clip that lost beside the one that it lost to, and the funnel of all batches, as metadata."""
    from vid_assets.steps.curation_views import duplicate_views

    return {name: dg.MetadataValue.md(text) for name, text in duplicate_views(project).items()}
