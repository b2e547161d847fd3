"""`vid-assets why`: why a clip is kept or not, and what used it."""

from __future__ import annotations

import argparse

from vid_assets.commands import OK
from vid_assets.project import Project

HELP = "why a clip is kept or not, and what used it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "clip", help="the beginning of a clip_id, or a file's name or path, with @SECONDS for one moment"
    )


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.reports.why import explain

    print("\n\n".join(explain(project, options.clip)))
    return OK
