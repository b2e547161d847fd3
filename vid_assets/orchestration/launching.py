"""Running whatever is stale, in order, as real Dagster runs: for `vid-assets run` and the nightly job.

Each run is a `dagster asset materialize` of its own, so that it is seen in the web UI like any other. After each
step the standings are taken again: an input whose content did not change leaves what is made from it fresh.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vid_assets.assets import assets_of
from vid_assets.config import Config
from vid_assets.project import Project
from vid_assets.reports.staleness import standings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Launch:
    """One `dagster asset materialize`."""

    assets: tuple[str, ...]
    partition: str | None = None

    def command(self) -> list[str]:
        """The command as a list of arguments."""
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "vid_assets.definitions"]
        command += ["--select", ",".join(self.assets)]
        return command + (["--partition", self.partition] if self.partition else [])

    def __str__(self) -> str:
        where = f" --partition {self.partition}" if self.partition else ""
        return f"dagster asset materialize -m vid_assets.definitions --select {','.join(self.assets)}{where}"


@dataclass
class Ran:
    """The launches that were made, and those that failed."""

    launched: list[Launch] = field(default_factory=list)
    failed: list[Launch] = field(default_factory=list)


def run_stale(project: Project, say: Say, training: bool, start: Callable[[Launch], bool] | None = None) -> Ran:
    """Run all that is stale, step by step; `start` runs a launch and tells whether it succeeded.

    A launch that fails does not stop those that do not need it.
    """
    ran = Ran()
    for step in _launches(project, training):
        for launch in step():
            if cause := _blocker(project, launch, ran.failed):
                say(f"skipped: {launch} (it needs what failed: {cause})")
                continue
            say(f"$ {launch}")
            ran.launched.append(launch)
            if not (start or start_process)(launch):
                ran.failed.append(launch)
                say(f"failed: {launch}")
    return ran


def _blocker(project: Project, launch: Launch, failed: Sequence[Launch]) -> Launch | None:
    """A failed launch that makes what this one needs: of all batches, of its own, or of any for the curriculum."""
    assets = assets_of(project.config)
    trains = not all(assets[name].of_data for name in launch.assets)
    return next((one for one in failed if trains or one.partition in (None, launch.partition)), None)


def start_process(launch: Launch, run_config: dict[str, Any] | None = None) -> bool:
    """Run a launch as a process of its own; its log goes to this process's output.

    When this process is interrupted, so is the launch, and it is waited for: a training run saves its state first.
    """
    command = launch.command()
    command += ["--config-json", json.dumps(run_config)] if run_config else []
    process = subprocess.Popen(command)
    try:
        return process.wait() == 0
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def steps(config: Config) -> list[tuple[str, ...]]:
    """The assets in the order of their launches: those of a step are neighbours that are partitioned alike.

    `duplicates` must have seen all batches before `latents` of one; the training sets of all stages come before the
    first checkpoint, none of which they need.
    """
    assets = sorted(assets_of(config).values(), key=lambda one: one.partitions == "experiment")
    grouped = itertools.groupby(assets, key=lambda one: one.partitions)
    return [tuple(asset.name for asset in group) for _, group in grouped]


def _launches(project: Project, training: bool) -> Iterator[Callable[[], list[Launch]]]:
    """What to launch, step by step; each is asked when the ones before it have ended."""
    assets = assets_of(project.config)
    seen_batches = False
    for names in steps(project.config):
        partitions = assets[names[0]].partitions
        if partitions == "experiment" and not training:
            continue
        again = partitions == "batch" and not seen_batches
        # once more, as a copy in a later batch may have brought a video of an earlier one back
        for _ in range(2 if again else 1):
            yield partial(_of_step, project, names)
        seen_batches = seen_batches or again


def _of_step(project: Project, names: Sequence[str]) -> list[Launch]:
    """A launch for each partition of which one of `names` is not fresh: of those that are not, in order."""
    stale: dict[str | None, set[str]] = {}
    for one in standings(project):
        if one.condition != "fresh" and one.asset in names:
            stale.setdefault(one.partition, set()).add(one.asset)
    ordered = sorted(stale.items(), key=lambda item: item[0] or "")
    return [Launch(tuple(name for name in names if name in found), partition) for partition, found in ordered]
