"""A home up to what `latents` needs, by the assets' own work: without Dagster, which costs more than the work."""

from __future__ import annotations

from vid_assets.project import Project
from vid_assets_tests.harness import CURATION, run_asset


def curate(project: Project) -> None:
    """List, probe, measure, cut, score, judge and caption the one batch of a home."""
    run_asset(project, "source_files")
    (batch,) = {row["ingest_batch"] for row in project.store.read("sources")}
    for name in CURATION:
        run_asset(project, name, batch)
    run_asset(project, "duplicates")
