"""Running whatever is stale, in order, as real Dagster runs: for `vid-assets run` and the nightly job.

Each run is a `dagster asset materialize` of its own, so that it is seen in the web UI like any other. After each
step the standings are taken again: an input whose content did not change leaves what is made from it fresh.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vid_assets.project import Project
from vid_assets.staleness import Standing, standings

Say = Callable[[str], None]
#: The assets of a batch up to its verdicts and texts; `duplicates` must have seen all batches before `latents`.
CURATION = (
    "raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "text_embeddings",
)  # fmt: skip


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
    for step in _steps(project, training):
        for launch in step():
            if cause := _blocker(launch, ran.failed):
                say(f"skipped: {launch} (it needs what failed: {cause})")
                continue
            say(f"$ {launch}")
            ran.launched.append(launch)
            if not (start or start_process)(launch):
                ran.failed.append(launch)
                say(f"failed: {launch}")
    return ran


def _blocker(launch: Launch, failed: Sequence[Launch]) -> Launch | None:
    """A failed launch that makes what this one needs: of all batches, of its own, or of any for a training set."""
    trains = any(name.startswith(("training_set/", "checkpoint/", "evaluation/")) for name in launch.assets)
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


def _steps(project: Project, training: bool) -> Iterator[Callable[[], list[Launch]]]:
    """The steps in order; each is asked what to launch when the ones before it have ended."""
    yield lambda: _global(project, ("source_files",))
    yield lambda: _batches(project, CURATION)
    yield lambda: _batches(project, CURATION)  # a copy in a later batch may have brought a video of an earlier one back
    yield lambda: _global(project, ("duplicates", "vae"))
    yield lambda: _batches(project, ("latents", "image_embeddings"))
    sets = tuple(f"training_set/{stage.name}" for stage in project.config.stages)
    yield lambda: _global(project, sets)
    if training:
        yield lambda: _experiments(project)


def _unsettled(project: Project) -> list[Standing]:
    return [one for one in standings(project) if one.condition != "fresh"]


def _global(project: Project, names: Sequence[str]) -> list[Launch]:
    """One launch for the unpartitioned assets among `names` that are not fresh."""
    stale = {one.asset for one in _unsettled(project)}
    chosen = tuple(name for name in names if name in stale)
    return [Launch(chosen)] if chosen else []


def _batches(project: Project, names: Sequence[str]) -> list[Launch]:
    """A launch for each batch of which one of `names` is not fresh: from the first such asset on."""
    by_batch: dict[str, set[str]] = {}
    for one in _unsettled(project):
        if one.asset in names and one.partition:
            by_batch.setdefault(one.partition, set()).add(one.asset)
    return [Launch(tuple(name for name in names if name in stale), batch) for batch, stale in sorted(by_batch.items())]


def _experiments(project: Project) -> list[Launch]:
    names = [f"{what}/{stage.name}" for stage in project.config.stages for what in ("checkpoint", "evaluation")]
    return _batches(project, names)
