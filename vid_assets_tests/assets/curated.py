"""A home up to what `latents` needs, by the steps themselves: without Dagster, which costs more than the work."""

from __future__ import annotations

from vid_assets.footage.listing import list_sources
from vid_assets.project import Project


def curate(project: Project) -> None:
    """List, probe, measure, cut, score and judge the one batch of a home."""
    from vid_assets.steps import curation, duplicates, frame_stats, sources, videos

    def quiet(message: str) -> None:
        pass

    sources.source_files(project, list_sources(project.config.sources))
    (batch,) = {row["ingest_batch"] for row in project.store.read("sources")}
    batch_steps = (videos.raw_videos, frame_stats.frame_stats, curation.clips, curation.clip_scores)
    for step in (*batch_steps, curation.curated_clips):
        step(project, batch, progress=quiet)
    duplicates.duplicates(project, progress=quiet)
