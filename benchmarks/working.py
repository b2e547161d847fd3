"""An asset's work alone, without Dagster and the cache around it."""

from __future__ import annotations

from vid_assets.assets import work_of
from vid_assets.project import Project
from vid_assets.store.cache import Output


def run_asset(project: Project, name: str, partition: str | None = None, **options: bool) -> Output:
    """Do the work of an asset partition, and say nothing of how it goes on."""
    work = work_of(project, name, partition, options=options, progress=lambda words: None)
    return work.asset.run(work)
