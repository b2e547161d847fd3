"""The commands of `vid-assets` for what is stored: `prune` and `remove`. Both show first what would go."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from vid_assets.config import ConfigError
from vid_assets.project import Project

#: Digits of an id that are shown.
SHOWN = 12


def add_commands(commands: Any) -> None:
    """Register the commands with the parser of `vid-assets`."""
    prune = commands.add_parser("prune", help="list what nothing needs any more, and its bytes; --delete deletes it")
    prune.add_argument("--delete", action="store_true", help="delete what is listed")
    prune.add_argument("--json", action="store_true", help="one JSON object a line")
    prune.set_defaults(run=_prune)
    remove = commands.add_parser("remove", help="take a video down: its rows, its bytes, and what shows it")
    remove.add_argument("video", nargs="?", help="its uri or path, the end of one, or the beginning of its video_id")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.add_argument("--undo", action="store_true", help="let the video be ingested again, if its file is there")
    remove.add_argument("--list", action="store_true", help="the videos that were taken down")
    remove.add_argument("--json", action="store_true", help="one JSON object a line")
    remove.set_defaults(run=_remove)


def _prune(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.steps import prune

    if not options.delete:
        found = prune.find(project)
        _show(found, options.json)
        if found and not options.json:
            print("`vid-assets prune --delete` deletes it")
        return 0
    with project.states.alone():
        found = prune.find(project)
        _show(found, options.json)
        freed = prune.delete(project, found, progress=_tell)
    print(json.dumps({"freed_bytes": freed}) if options.json else f"{size(freed)} freed")
    return 0


def _show(found: list[Any], as_json: bool) -> None:
    if as_json:
        for one in found:
            print(json.dumps({"kind": one.kind, "name": one.name, "reason": one.reason, "bytes": one.bytes}))
        return
    for one in found:
        print(f"{size(one.bytes):>9}  {one.kind:12} {one.name}: {one.reason}")
    total = sum(one.bytes for one in found)
    print(f"{size(total):>9}  in all" if found else "nothing to prune")


def _remove(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.steps import removal

    if options.list:
        rows = removal.removals(project)
        for row in rows:
            _print_removal(row, options.json)
        if not rows and not options.json:
            print("no video was taken down")
        return 0
    if not options.video:
        raise ConfigError("name the video: its uri or path, the end of one, or the beginning of its video_id")
    if options.undo:
        for line in removal.undo(project, options.video):
            print(line)
        return 0
    plan = removal.plan(project, options.video)
    print(json.dumps(as_json(plan)) if options.json else "\n".join(describe(plan)))
    if not options.yes and not _agreed():
        print("nothing was removed")
        return 1
    with project.states.alone():  # not while somebody thinks about the answer; so what there is may have changed
        freed = removal.remove(project, removal.plan(project, plan.video_id), progress=_tell)
    if not options.json:
        print(f"removed, {size(freed)} freed; `vid-assets run` makes the training sets anew without it")
    return 0


def describe(one: Any) -> list[str]:
    """The plan as lines for people."""
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
    """The plan as one JSON object."""
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


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def size(count: int) -> str:
    """A number of bytes as people write it."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
