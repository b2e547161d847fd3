"""`vid-assets migrate`: the tables of an older release, brought to this one."""

from __future__ import annotations

import argparse

from vid_assets.commands import OK
from vid_assets.project import Project

HELP = "bring the tables of an older release to this one"


def arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.store.migration import migrate

    with project.states.alone():
        done = migrate(project.store)
    for line in done or ["nothing to migrate"]:
        print(line)
    return OK
