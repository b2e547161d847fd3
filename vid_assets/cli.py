"""The command `vid-assets`: a thin layer over Dagster for what Dagster's own command lacks.

Exit codes: 0 done, 1 something failed or is stale, 2 wrong arguments or configuration. Errors are one message on
standard error, without a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vid_assets.config import ConfigError
from vid_assets.curation_commands import add_commands
from vid_assets.errors import mendable_errors
from vid_assets.latent_commands import add_commands as add_latent_commands
from vid_assets.lineage_commands import add_commands as add_lineage_commands
from vid_assets.plan_commands import add_commands as add_plan_commands
from vid_assets.project import Project
from vid_assets.store_commands import add_commands as add_store_commands
from vid_assets.training_commands import add_commands as add_training_commands

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(Project.from_environment(), options)
    except ConfigError as error:
        return _fail(error, USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except OSError as error:
        return _fail(error, FAILED)
    except mendable_errors() as error:
        return _fail(error, FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vid-assets", description=__doc__.partition("\n\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    scan = commands.add_parser("scan", help="list the sources and register new footage, as a run of source_files")
    scan.add_argument("--confirm", action="store_true", help="accept that more than half of the known files are gone")
    scan.set_defaults(run=_scan)
    run = commands.add_parser("run", help="run all that is stale, each as a real Dagster run")
    run.add_argument("--no-training", action="store_true", help="stop after the training sets")
    run.set_defaults(run=_run)
    status = commands.add_parser("status", help="what is stale, and why; exit code 1 if anything is")
    status.add_argument("--json", action="store_true", help="one JSON object a line")
    status.add_argument("--all", action="store_true", help="list what is fresh too")
    status.set_defaults(run=_status)
    add_commands(commands)
    add_latent_commands(commands)
    add_lineage_commands(commands)
    add_training_commands(commands)
    add_plan_commands(commands)
    add_store_commands(commands)
    migrate = commands.add_parser("migrate", help="bring the tables of an older release to this one")
    migrate.set_defaults(run=_migrate)
    return parser


def _scan(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.launching import Launch, start_process
    from vid_assets.steps import sources

    _need_dagster_home()
    config = {"ops": {"source_files": {"config": {"confirm": True}}}} if options.confirm else None
    if not start_process(Launch(("source_files",)), config):
        return _fail("the scan failed; the log above says why", FAILED)
    state = project.states.read("source_files", None)
    facts = state.facts if state else {}
    changes = ", ".join(f"{facts.get(what, 0)} {what}" for what in ("added", "changed", "renamed", "removed"))
    print(f"{facts.get('present', 0)} files in {len(facts.get('batches', []))} batches; last change: {changes}")
    if waiting := sources.settling(project):
        print(f"{len(waiting)} files changed a moment ago and were left for the next scan, {waiting[0]} among them")
    return OK


def _run(project: Project, options: argparse.Namespace) -> int:
    from dagster import DagsterInstance

    from vid_assets.launching import run_stale
    from vid_assets.orphans import fail_dead_runs

    _need_dagster_home()
    with DagsterInstance.get() as instance:
        for run_id in fail_dead_runs(instance):
            print(f"run {run_id} had no process any more and was marked as failed")
    ran = run_stale(project, print, training=not options.no_training)
    if not ran.launched:
        print("nothing is stale")
    if ran.failed:
        return _fail(
            f"{len(ran.failed)} of {len(ran.launched)} runs failed: " + "; ".join(map(str, ran.failed)), FAILED
        )
    return OK


def _status(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.staleness import standings

    unsettled = 0
    for one in standings(project):
        unsettled += one.condition != "fresh"
        if one.condition == "fresh" and not options.all:
            continue
        if options.json:
            record = {
                "asset": one.asset,
                "partition": one.partition,
                "condition": one.condition,
                "reasons": one.reasons,
            }
            print(json.dumps(record))
        else:
            print(f"{one.condition:8} {one.name:32} {'; '.join(one.reasons)}".rstrip())
    if not options.json:
        print(
            "everything is fresh"
            if not unsettled
            else f"{unsettled} asset partitions are not fresh; `vid-assets run` runs them"
        )
    return FAILED if unsettled else OK


def _migrate(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.store.migration import migrate

    with project.states.alone():
        done = migrate(project.store)
    for line in done or ["nothing to migrate"]:
        print(line)
    return OK


def _need_dagster_home() -> None:
    """Runs must be seen in the web UI: without DAGSTER_HOME, Dagster would forget them."""
    if not os.environ.get("DAGSTER_HOME"):
        here = Path.cwd()
        if not (here / "dagster.yaml").is_file():
            raise ConfigError("DAGSTER_HOME is not set; set it to the folder of dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(here)


def _fail(error: object, code: int) -> int:
    print(f"vid-assets: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
