"""`vid-assets run`: all that is stale, each as a Dagster run of its own."""

from __future__ import annotations

import argparse

from model.errors import UserError
from vid_assets.commands import OK
from vid_assets.commands.environment import need_dagster_home
from vid_assets.project import Project

HELP = "run all that is stale, each as a real Dagster run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--no-training", action="store_true", help="stop after the training sets")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from dagster import DagsterInstance

    from vid_assets.orchestration.launching import run_stale
    from vid_assets.orchestration.orphans import fail_dead_runs

    need_dagster_home()
    with DagsterInstance.get() as instance:
        for run_id in fail_dead_runs(instance):
            print(f"run {run_id} had no process any more and was marked as failed")
    ran = run_stale(project, print, training=not options.no_training)
    if not ran.launched:
        print("nothing is stale")
    if ran.failed:
        raise UserError(f"{len(ran.failed)} of {len(ran.launched)} runs failed: " + "; ".join(map(str, ran.failed)))
    return OK
