"""`vid-assets remove`: taking a video down, after showing what goes."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from vid_assets.commands import FAILED, OK
from vid_assets.commands.words import size, tell
from vid_assets.digests import SHOWN
from vid_assets.project import Project
from vid_assets.section import ConfigError

HELP = "take a video down: its rows, its bytes, and what shows it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("video", nargs="?", help="its uri or path, the end of one, or the beginning of its video_id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--undo", action="store_true", help="let the video be ingested again, if its file is there")
    parser.add_argument("--list", action="store_true", help="the videos that were taken down")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.home import removal

    if options.list:
        rows = removal.removals(project)
        for row in rows:
            _print_removal(row, options.json)
        if not rows and not options.json:
            print("no video was taken down")
        return OK
    if not options.video:
        raise ConfigError("name the video: its uri or path, the end of one, or the beginning of its video_id")
    if options.undo:
        for line in removal.undo(project, options.video):
            print(line)
        return OK
    found = removal.removal_of(project, options.video)
    print(json.dumps(as_json(found)) if options.json else "\n".join(describe(found)))
    if not options.yes and not _agreed():
        print("nothing was removed")
        return FAILED
    with project.states.alone():  # not while somebody thinks about the answer; so what there is may have changed
        freed = removal.remove(project, removal.removal_of(project, found.video_id), progress=tell)
    if not options.json:
        print(f"removed, {size(freed)} freed; `vid-assets run` makes the training sets anew without it")
    return OK


def describe(one: Any) -> list[str]:
    """What a removal comes to, as lines for people."""
    kept = f"video {one.video_id[:SHOWN]}: {', '.join(one.uris) or 'no file that is known'}"
    lines = [kept, "  its file stays where it is, and is not ingested again"]
    lines += [f"  {count:,} rows of {table}" for table, count in one.rows.items()]
    lines += [f"  pictures: {path}" for path in one.pictures]
    lines += [f"  training set {digest[:SHOWN]} is given up, with the versions that it pins" for digest in one.digests]
    lines += [f"  tag {tag} is given up: the version that it names may hold the video" for tag in one.tags]
    lines += [f"  STAYS, AND WAS TRAINED ON IT: {folder}" for folder in one.checkpoints]
    lines += [f"  must begin anew, as its pinned version goes: {folder}" for folder in one.restarted]
    lines += [f"  a copy of parts of it stays: {name}" for name in one.copies]
    lines += [f"  other content that this file held before stays: {name}" for name in one.earlier]
    return [*lines, "  pictures in the log of past Dagster runs stay: `dagster run delete` deletes those of a run"]


def as_json(one: Any) -> dict[str, Any]:
    """What a removal comes to, as one JSON object."""
    names = ("video_id", "uris", "rows", "pictures", "digests", "tags", "checkpoints", "restarted", "copies", "earlier")
    return {name: getattr(one, name) for name in names}


def _print_removal(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row, default=str))
        return
    state = "" if row["finished_at"] else "  NOT FINISHED: run `vid-assets remove` with this video_id again"
    print(f"{row['video_id'][:SHOWN]}  {row['created_at']:%Y-%m-%d %H:%M}  {', '.join(row['uris'] or [])}{state}")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("`vid-assets remove` asks before it deletes; where nobody can answer, give --yes")
    return input("Remove it for good? [y/N] ").strip().lower() in ("y", "yes")
