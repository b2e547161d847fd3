"""Ingestion: `source_files` and `raw_videos`."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from vid_assets.assets.base import SourcesConfig, StageConfig, dagster_code_version, execute
from vid_assets.automation import follow_changes
from vid_assets.checks import share_check
from vid_assets.partitions import ingest_batch, register_batches
from vid_assets.project import Project
from vid_assets.stages import all_stages


def build(project: Project) -> list[dg.AssetsDefinition]:
    """The assets of this file for a configuration."""
    stages, config = all_stages(project.config), project.config
    least = config.ingest.readable_share_min

    @dg.asset(
        group_name="ingest",
        kinds={"file", "lancedb"},
        code_version=dagster_code_version(stages["source_files"], config),
        description="Lists the sources with their captions, and places new files in ingest batches. Reads no footage.",
    )
    def source_files(
        context: dg.AssetExecutionContext, config: SourcesConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import sources

        listing = functools.cache(lambda: sources.settled_files(project))
        result = execute(
            context,
            project,
            "source_files",
            lambda project, _, progress: sources.source_files(project, listing(), config.confirm),
            force=config.force,
            table="sources",
            extra_inputs=lambda: {"listing": sources.listing_digest(listing())},
        )
        fresh = register_batches(context.instance, sources.batches(project))
        if fresh:
            context.log.info(f"new ingest batches: {', '.join(fresh)}")
        return result

    def readable(project: Project, partition: str | None, facts: Mapping[str, Any]) -> Sequence[dg.AssetCheckResult]:
        failed, rows = int(facts["unreadable"]), int(facts["present"])
        return [share_check("readable_share", rows - failed, rows, least, {"reasons": facts["unreadable reasons"]})]

    @dg.asset(
        partitions_def=ingest_batch,
        deps=[source_files],
        group_name="ingest",
        kinds={"ffmpeg", "lancedb"},
        code_version=dagster_code_version(stages["raw_videos"], config),
        automation_condition=follow_changes(ignore=("source_files",)),
        check_specs=[
            dg.AssetCheckSpec(
                "readable_share",
                asset="raw_videos",
                blocking=True,
                description=f"At least {least:.0%} of the batch's files are videos or stills that can be opened.",
            )
        ],
        description="Hashes each file, reads its header and first frame. Byte-identical files are one video.",
    )
    def raw_videos(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import videos

        return execute(
            context,
            project,
            "raw_videos",
            lambda project, batch, progress: videos.raw_videos(project, str(batch), config.force, progress),
            force=config.force,
            checks=readable,
            table="videos",
        )

    return [source_files, raw_videos]
