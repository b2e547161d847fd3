"""`vid-assets status`: what is stale, and why."""

from __future__ import annotations

import argparse
import json

from vid_assets.commands import FAILED, OK
from vid_assets.project import Project

HELP = "what is stale, and why; exit code 1 if anything is"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--all", action="store_true", help="list what is fresh too")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.reports.staleness import standings

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
