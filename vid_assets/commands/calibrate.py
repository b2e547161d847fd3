"""`vid-assets calibrate`: limits proposed from percentiles of the corpus. Opens no video."""

from __future__ import annotations

import argparse
import json

from vid_assets.commands import OK
from vid_assets.commands.words import number, table
from vid_assets.commands.writing import write_limits
from vid_assets.project import Project
from vid_assets.section import ConfigError

HELP = "propose limits from percentiles of the corpus"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("rules", nargs="*", metavar="RULE", help="by default the rules whose limit has no source")
    parser.add_argument("--reject", type=float, default=1.0, metavar="PERCENT", help="share to reject (default 1)")
    parser.add_argument("--write", action="store_true", help="set the proposed limits in the configuration file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.curation.calibration import PERCENTILES
    from vid_assets.curation.metrics import RULES
    from vid_assets.reports.tuning import calibrate

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
                number(one.current),
                number(one.limit) if one.measured else "not measured",
                f"{one.measured:,}",
                f"{one.rejected_now:,}",
                f"{one.rejected_then:,}",
                *(number(value) for value in one.percentiles),
            )
            for one in found
        ]
        for line in table(header, rows):
            print(line)
        print("Each rule is measured on the clips that no other rule rejects.")
    # a rule that was switched off stays off, unless it was asked for
    on = [one for one in found if one.current is not None or one.rule.name in options.rules]
    proposed = {("policy", one.rule.name): one.limit for one in on if one.limit is not None}
    fewest = min((one.measured for one in found if one.measured), default=0)
    if fewest * options.reject / 100 < 2 and proposed and not options.json:
        print(f"{fewest} clips are few for {options.reject:g} %: such a limit rests on one or two of them.")
    if options.write:
        write_limits(proposed)
    elif not options.json and proposed:
        print("\npolicy:" + "".join(f"\n  {key}: {number(value)}" for (_, key), value in proposed.items()))
    return OK
