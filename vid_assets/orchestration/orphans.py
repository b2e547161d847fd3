"""Runs whose process died: Dagster goes on counting them as started, which holds their place in the queue for good.

Each run notes its process in a tag. Whoever starts work next (the sensor, `vid-assets run`, the nightly job) marks the
runs of dead processes on this host as failed; what they had finished is kept, and their locks are free already.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

TAG = "vid_assets/process"


def this_process() -> str:
    """Names this process so that no later one is taken for it: host, pid and the time at which it began."""
    return f"{socket.gethostname()}/{os.getpid()}/{_began(os.getpid())}"


def _began(pid: int) -> str | None:
    """When a process began, in clock ticks since the boot; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def note_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with the process that executes it."""
    if run.tags.get(TAG) != this_process():
        instance.add_run_tags(run.run_id, {TAG: this_process()})


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the started runs of this host whose process is gone as failed; returns their ids."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    dead = []
    for run in instance.get_runs(filters=started):
        host, _, rest = run.tags.get(TAG, "").partition("/")
        pid, _, began = rest.partition("/")
        if host == socket.gethostname() and pid.isdigit() and _began(int(pid)) != began:
            instance.report_run_failed(run, f"The process of this run (pid {pid}) is gone. Materialize again to go on.")
            dead.append(run.run_id)
    return dead
