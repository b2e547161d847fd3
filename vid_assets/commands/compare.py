"""`vid-assets compare`: the evaluations of a stage beside one another, as they are stored."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from vid_assets.commands import OK
from vid_assets.project import Project
from vid_assets.section import ConfigError

HELP = "the evaluations of a stage beside one another, as they are stored"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("stage", nargs="?", help="default: the last one")
    parser.add_argument("--experiment", help="which one the others are held against; default: the first evaluated")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.assets.train.comparisons import compared, comparison_table
    from vid_assets.assets.train.names import EVALUATION

    stages = [one.name for one in project.config.stages]
    stage = options.stage or stages[-1]
    if stage not in stages:
        raise ConfigError(f"{stage}: no such stage; there are {', '.join(stages)}")
    wanted = [options.experiment] if options.experiment else list(project.config.experiments)
    states = {one: project.states.read(f"{EVALUATION}/{stage}", one) for one in wanted}
    found = next(((one, state) for one, state in states.items() if state is not None), None)
    if found is None:
        raise ConfigError(f"{EVALUATION}/{stage} is not finished for {' or '.join(wanted) or 'any experiment'}")
    rows = compared(project, stage, found[0], found[1].facts)
    if options.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    else:
        print(comparison_table(rows))
    return OK
