"""The command `vid-assets`: a thin layer over Dagster for what Dagster's own command lacks.

Exit codes: 0 done, 1 something failed or is stale, 2 wrong arguments or configuration. Errors are one message on
standard error, without a traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model.errors import UserError
from vid_assets.commands import (
    FAILED,
    USAGE,
    calibrate,
    compare,
    export,
    lineage,
    migrate,
    plan,
    prune,
    remove,
    run,
    scan,
    stale,
    status,
    tune,
    why,
)
from vid_assets.project import Project
from vid_assets.section import ConfigError

#: In the order in which the help lists them. A command is called as its file.
COMMANDS = (
    *(scan, run, status),
    *(tune, calibrate, why),
    *(stale, lineage, compare, export, plan),
    *(prune, remove, migrate),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(Project.from_environment(), options)
    except ConfigError as error:
        return _fail(error, USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (UserError, OSError) as error:
        return _fail(error, FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vid-assets", description=__doc__.partition("\n\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = commands.add_parser(command.__name__.rpartition(".")[2], help=command.HELP)
        command.arguments(own)
        own.set_defaults(run=command.run)
    return parser


def _fail(error: object, code: int) -> int:
    print(f"vid-assets: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
