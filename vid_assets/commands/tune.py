"""`vid-assets tune`: what other limits would flip, before any work. Opens no video."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from vid_assets.commands import OK
from vid_assets.commands.words import number, table
from vid_assets.commands.writing import write_limits
from vid_assets.config.changes import Changes, changed, parse_changes
from vid_assets.project import Project

HELP = "what other limits would flip, before any work"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "changes",
        nargs="+",
        metavar="RULE=VALUE",
        help="a rule of the policy, duplicates.max_distance, ...; or RULE=off",
    )
    parser.add_argument("--write", action="store_true", help="set the values in the configuration file")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.assets.curate.views import flips_sheet
    from vid_assets.curation.tuning import by_reason
    from vid_assets.reports.tuning import tune

    changes = parse_changes(options.changes)
    found = tune(project, changes)
    gained = sum(flip.kept for flip in found.flips)
    lost = len(found.flips) - gained
    sheet = None
    if found.flips:
        sheet = project.folder("views") / "tune.jpg"
        sheet.write_bytes(flips_sheet(project, found.flips))
    if options.json:
        record = {
            "gained": gained,
            "lost": lost,
            "before": vars(found.before),
            "after": vars(found.after),
            "reasons": {name: {"gained": up, "lost": down} for name, (up, down) in by_reason(found.flips).items()},
            "windows": found.windows,
            "latents_to_compute": found.to_encode,
            "unscored": found.unscored,
            "sheet": str(sheet) if sheet else None,
            "flips": [{"clip_id": one.clip.clip_id, "kept": one.kept, "reasons": one.reasons} for one in found.flips],
        }
        print(json.dumps(record))
    else:
        _print_tuning(project, changes, found, gained, lost, sheet)
    if options.write:
        other = changed(project.config, changes)
        write_limits({(section, key): getattr(getattr(other, section), key) for section, key in changes})
    return OK


def _print_tuning(project: Project, changes: Changes, found: Any, gained: int, lost: int, sheet: Any) -> None:
    from vid_assets.curation.tuning import by_reason

    for (section, key), value in changes.items():
        name = key if section == "policy" else f"{section}.{key}"
        print(f"{name}: {number(getattr(getattr(project.config, section), key))} -> {number(value)}")
    before, after = found.before, found.after
    kept, then = before.clips + before.stills, after.clips + after.stills
    print(f"kept    {kept:,} -> {then:,}   +{gained:,} -{lost:,}")
    print(f"clips   {before.clips:,} -> {after.clips:,}, stills {before.stills:,} -> {after.stills:,}")
    print(f"footage {_duration(before.hours)} -> {_duration(after.hours)}")
    if found.no_latents:
        print(f"latents unknown: {found.no_latents}")
    else:
        print(f"latents {found.to_encode:,} to compute for {found.windows:,} windows; the others are stored")
    reasons = by_reason(found.flips)
    if reasons:
        rows = [(name, f"+{up:,}" if up else "", f"-{down:,}" if down else "") for name, (up, down) in reasons.items()]
        for line in table(("reason", "gained", "lost"), rows):
            print(line)
    else:
        print("no clip would flip")
    if found.unscored:
        print(f"{found.unscored:,} clips have no scores yet and are not counted; `vid-assets run` scores them")
    if sheet:
        print(f"examples: {sheet}")


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.2f} h"
    return f"{math.floor(hours * 60):.0f} min {hours * 3600 % 60:.1f} s"
