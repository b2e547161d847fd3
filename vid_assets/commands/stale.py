"""`vid-assets stale`: which latents a change would compute again, and why, before any work."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from vid_assets.commands import FAILED, OK
from vid_assets.digests import SHOWN
from vid_assets.project import Project

HELP = "which latents would be computed, and why, row by row; exit code 1 if there are any"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--rows", action="store_true", help="list each of them")
    parser.add_argument("--json", action="store_true", help="one JSON object; with --rows, one for each row behind it")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.reports.latent_changes import latent_changes

    found = latent_changes(project)
    if options.json:
        groups = [{"reason": reason, "latents": count} for reason, count in found.groups]
        summary = {"planned": found.planned, "stale": len(found.rows), "groups": groups, "unsettled": found.unsettled}
        print(json.dumps(summary))
        for row in found.rows if options.rows else ():
            print(json.dumps(asdict(row)))
    else:
        for reason, count in found.groups:
            print(f"{count:,} of {found.planned:,}: {reason}")
        for row in found.rows if options.rows else ():
            print(f"{row.batch}  {row.video_id[:SHOWN]}  {row.start_s:10.3f} s  {row.bucket:16} {row.reason}")
        if not found.rows and not found.unsettled:
            print(f"all {found.planned:,} latents are up to date")
        if found.unsettled:
            print(f"{len(found.unsettled)} inputs are not up to date, so that the windows may change:")
            for line in found.unsettled[:10]:
                print(f"  {line}")
            if len(found.unsettled) > 10:
                print(f"  and {len(found.unsettled) - 10} more; `vid-assets status` lists them all")
    return FAILED if found.rows or found.unsettled else OK
