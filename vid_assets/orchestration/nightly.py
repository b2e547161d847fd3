"""The nightly schedule: scan, run whatever is stale, freeze the training sets. Trains only if the config says so."""

import dagster as dg

from vid_assets.orchestration.orphans import fail_dead_runs
from vid_assets.project import Project


@dg.op(description="Scans the sources, then materializes whatever is stale, each as a run of its own.")
def run_whatever_is_stale(context: dg.OpExecutionContext, project: dg.ResourceParam[Project]) -> None:
    """Everything up to the training sets, and training where `train.automatic` is true."""
    from vid_assets.orchestration.launching import run_stale

    fail_dead_runs(context.instance)
    ran = run_stale(project, context.log.info, training=project.config.train.automatic)
    context.log.info(f"{len(ran.launched)} runs, {len(ran.failed)} failed")
    if ran.failed:
        names = "; ".join(str(launch) for launch in ran.failed)
        raise dg.Failure(f"{len(ran.failed)} of {len(ran.launched)} runs failed: {names}", allow_retries=False)


@dg.job(description="Scan, whatever is stale, training sets.")
def nightly_job() -> None:
    """The nightly job."""
    run_whatever_is_stale()


def nightly_schedule(project: Project) -> dg.ScheduleDefinition:
    """The schedule of the nightly job, on where the configuration says so."""
    schedule = project.config.schedule
    return dg.ScheduleDefinition(
        name="nightly",
        job=nightly_job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if schedule.enabled else dg.DefaultScheduleStatus.STOPPED,
        description="Every night: scan the sources, run whatever is stale, freeze the training sets.",
    )
