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
from vid_assets.project import Project

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
    except _mendable() as error:
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
    return parser


def _scan(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.launching import Launch, start_process

    _need_dagster_home()
    config = {"ops": {"source_files": {"config": {"confirm": True}}}} if options.confirm else None
    if not start_process(Launch(("source_files",)), config):
        return _fail("the scan failed; the log above says why", FAILED)
    state = project.states.read("source_files", None)
    facts = state.facts if state else {}
    print(
        f"{facts.get('present', 0)} files in {len(facts.get('batches', []))} batches; "
        f"last change: {facts.get('added', 0)} added, {facts.get('changed', 0)} changed, "
        f"{facts.get('renamed', 0)} renamed, {facts.get('removed', 0)} removed"
    )
    return OK


def _run(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.launching import run_stale

    _need_dagster_home()
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


def _need_dagster_home() -> None:
    """Runs must be seen in the web UI: without DAGSTER_HOME, Dagster would forget them."""
    if not os.environ.get("DAGSTER_HOME"):
        here = Path.cwd()
        if not (here / "dagster.yaml").is_file():
            raise ConfigError("DAGSTER_HOME is not set; set it to the folder of dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(here)


def _mendable() -> tuple[type[Exception], ...]:
    """Errors whose message is all that a user needs."""
    from model.errors import ModelError
    from model.weights import WeightsError
    from vid_assets.footage.listing import ListingError
    from vid_assets.footage.membership import ShrunkListingError
    from vid_assets.store.tables import StoreError

    return (ListingError, ShrunkListingError, StoreError, ModelError, WeightsError, OSError)


def _fail(error: object, code: int) -> int:
    print(f"vid-assets: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
