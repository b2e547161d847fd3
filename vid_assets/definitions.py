"""The Dagster definitions: all assets, jobs, sensors and schedules of the project that the environment names.

Importing this module loads no torch, diffusers, transformers, lancedb, pandas, decord or cv2: every process that
Dagster starts imports it again.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from vid_assets.orchestration.assets import build_assets
from vid_assets.orchestration.automation import automation_sensor
from vid_assets.orchestration.nightly import nightly_job, nightly_schedule
from vid_assets.orchestration.sensor import footage_sensor
from vid_assets.project import Project


def build_definitions(project: Project | None = None, **resources: Any) -> dg.Definitions:
    """The definitions of `project`; tests give their own, and swap `resources` by name.

    All steps of a run share one process: a step of its own costs four seconds even when there is nothing to do,
    and what is heavy runs in a child process anyway. A training run that is cancelled gets five minutes to finish its
    step and save.
    """
    project = project or Project.from_environment()
    return dg.Definitions(
        assets=build_assets(project),
        resources={"project": project, "pipes": dg.PipesSubprocessClient(termination_timeout_seconds=300)} | resources,
        jobs=[nightly_job],
        schedules=[nightly_schedule(project)],
        sensors=[footage_sensor(project), automation_sensor(project.config.ingest.watch)],
        executor=dg.in_process_executor,
    )


defs = build_definitions()
