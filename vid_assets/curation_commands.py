"""The commands of `vid-assets` for curation: `tune`, `calibrate`, `why`. They read what is stored and open no video."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from vid_assets.config import ConfigError
from vid_assets.config_changes import Changes, changed, parse_changes, write_changes
from vid_assets.project import Project


def add_commands(commands: Any) -> None:
    """Register the commands with the parser of `vid-assets`."""
    tune = commands.add_parser("tune", help="what other limits would flip, before any work")
    tune.add_argument(
        "changes",
        nargs="+",
        metavar="RULE=VALUE",
        help="a rule of the policy, duplicates.max_distance, ...; or RULE=off",
    )
    tune.add_argument("--write", action="store_true", help="set the values in the configuration file")
    tune.add_argument("--json", action="store_true", help="one JSON object")
    tune.set_defaults(run=_tune)
    calibrate = commands.add_parser("calibrate", help="propose limits from percentiles of the corpus")
    calibrate.add_argument("rules", nargs="*", metavar="RULE", help="by default the rules whose limit has no source")
    calibrate.add_argument("--reject", type=float, default=1.0, metavar="PERCENT", help="share to reject (default 1)")
    calibrate.add_argument("--write", action="store_true", help="set the proposed limits in the configuration file")
    calibrate.add_argument("--json", action="store_true", help="one JSON object a line")
    calibrate.set_defaults(run=_calibrate)
    why = commands.add_parser("why", help="why a clip is kept or not, and what used it")
    why.add_argument("clip", help="the beginning of a clip_id, or a file's name or path, with @SECONDS for one moment")
    why.set_defaults(run=_why)


def _tune(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.curation.tuning import by_reason
    from vid_assets.steps.curation_views import flips_sheet
    from vid_assets.steps.tuning import tune

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
        _write({(section, key): getattr(getattr(other, section), key) for section, key in changes})
    return 0


def _print_tuning(project: Project, changes: Changes, found: Any, gained: int, lost: int, sheet: Any) -> None:
    from vid_assets.curation.tuning import by_reason

    for (section, key), value in changes.items():
        name = key if section == "policy" else f"{section}.{key}"
        print(f"{name}: {_number(getattr(getattr(project.config, section), key))} -> {_number(value)}")
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
        _table(("reason", "gained", "lost"), rows)
    else:
        print("no clip would flip")
    if found.unscored:
        print(f"{found.unscored:,} clips have no scores yet and are not counted; `vid-assets run` scores them")
    if sheet:
        print(f"examples: {sheet}")


def _calibrate(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.curation.calibration import PERCENTILES
    from vid_assets.curation.policy import RULES
    from vid_assets.steps.tuning import calibrate

    if not 0 <= options.reject < 100:
        raise ConfigError(f"--reject is a percentage from 0 to below 100, got {options.reject:g}")
    known = {rule.name for rule in RULES}
    if unknown := [name for name in options.rules if name not in known]:
        raise ConfigError(f"{unknown[0]}: no rule of the policy. There are: {', '.join(sorted(known))}")
    found = calibrate(project, options.rules, options.reject / 100)
    if options.json:
        for one in found:
            record = {
                "rule": one.rule.name,
                "current": one.current,
                "proposed": one.limit,
                "clips": one.measured,
                "rejected_now": one.rejected_now,
                "rejected_then": one.rejected_then,
                "percentiles": dict(zip(PERCENTILES, one.percentiles, strict=False)),
            }
            print(json.dumps(record))
    else:
        header = ("rule", "limit", "proposed", "clips", "rejects", "then", *(f"{one} %" for one in PERCENTILES))
        rows = [
            (
                f"{one.rule.name} {one.rule.op}",
                _number(one.current),
                _number(one.limit) if one.measured else "not measured",
                f"{one.measured:,}",
                f"{one.rejected_now:,}",
                f"{one.rejected_then:,}",
                *(_number(value) for value in one.percentiles),
            )
            for one in found
        ]
        _table(header, rows)
        print("Each rule is measured on the clips that no other rule rejects.")
    # a rule that was switched off stays off, unless it was asked for
    on = [one for one in found if one.current is not None or one.rule.name in options.rules]
    proposed = {("policy", one.rule.name): one.limit for one in on if one.limit is not None}
    fewest = min((one.measured for one in found if one.measured), default=0)
    if fewest * options.reject / 100 < 2 and proposed and not options.json:
        print(f"{fewest} clips are few for {options.reject:g} %: such a limit rests on one or two of them.")
    if options.write:
        _write(proposed)
    elif not options.json and proposed:
        print("\npolicy:" + "".join(f"\n  {key}: {_number(value)}" for (_, key), value in proposed.items()))
    return 0


def _why(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.steps.why import explain

    print("\n\n".join(explain(project, options.clip)))
    return 0


def _write(values: Changes) -> None:
    """Set values in the configuration file of the user; never in the presets that come with the project."""
    from vid_assets.config_file import PRESETS, config_path

    path = config_path()
    if path.is_relative_to(PRESETS):
        raise ConfigError(
            f"{path} comes with vid_assets; copy it, set VID_ASSETS_CONFIG to the copy, and run this again"
        )
    write_changes(path, values)
    print(f"written to {path}; `vid-assets run` judges the clips again")


def _number(value: Any) -> str:
    if value is None:
        return "off"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.2f} h"
    return f"{math.floor(hours * 60):.0f} min {hours * 3600 % 60:.1f} s"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (header, *rows) if column < len(row)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())
