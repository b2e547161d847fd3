"""`vid-assets scan`: list the sources and register new footage, as a run of `source_files`."""

from __future__ import annotations

import argparse

from model.errors import UserError
from vid_assets.commands import OK
from vid_assets.commands.environment import need_dagster_home
from vid_assets.project import Project

HELP = "list the sources and register new footage, as a run of source_files"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--confirm", action="store_true", help="accept that more than half of the known files are gone")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.assets.ingest.source_files import Listed, settling
    from vid_assets.orchestration.launching import Launch, start_process

    need_dagster_home()
    config = {"ops": {"source_files": {"config": {"confirm": True}}}} if options.confirm else None
    if not start_process(Launch(("source_files",)), config):
        raise UserError("the scan failed; the log above says why")
    state = project.states.read("source_files", None)
    found = Listed.read(state.facts if state else {})
    changes = {"added": found.added, "changed": found.changed, "renamed": found.renamed, "removed": found.removed}
    told = ", ".join(f"{count or 0} {what}" for what, count in changes.items())
    print(f"{found.present or 0} files in {len(found.batches or ())} batches; last change: {told}")
    if waiting := settling(project.store, project.config.sources, project.config.ingest.settle_s):
        print(f"{len(waiting)} files changed a moment ago and were left for the next scan, {waiting[0]} among them")
    return OK
