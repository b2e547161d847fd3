"""`vid-assets prune`: what nothing needs any more, shown before it is deleted."""

from __future__ import annotations

import argparse
import json
from typing import Any

from vid_assets.commands import OK
from vid_assets.commands.words import size, tell
from vid_assets.project import Project

HELP = "list what nothing needs any more, and its bytes; --delete deletes it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--delete", action="store_true", help="delete what is listed")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.home import prune

    if not options.delete:
        found = prune.find(project)
        _show(found, options.json)
        if found and not options.json:
            print("`vid-assets prune --delete` deletes it")
        return OK
    with project.states.alone():
        found = prune.find(project)
        _show(found, options.json)
        freed = prune.delete(project, found, progress=tell)
    print(json.dumps({"freed_bytes": freed}) if options.json else f"{size(freed)} freed")
    return OK


def _show(found: list[Any], as_json: bool) -> None:
    if as_json:
        for one in found:
            print(json.dumps({"kind": one.kind, "name": one.name, "reason": one.reason, "bytes": one.bytes}))
        return
    for one in found:
        print(f"{size(one.bytes):>9}  {one.kind:12} {one.name}: {one.reason}")
    total = sum(one.bytes for one in found)
    print(f"{size(total):>9}  in all" if found else "nothing to prune")
