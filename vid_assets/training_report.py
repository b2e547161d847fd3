"""The reporter of a training run that Dagster started: progress, loss and checkpoints go to Dagster through Pipes.

It runs in the child process and imports Dagster Pipes only, not Dagster. `model.train` loads it by name and knows
nothing of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

#: A line in the event log at most this often, in seconds.
_EVERY_S = 5.0


class PipesReporter:
    """Sends what a training run reports to Dagster."""

    def __init__(self, pipes: PipesContext) -> None:
        self._pipes = pipes
        self._last = 0.0

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """Log the step, its loss, its rate and the time left; the first call also says that training has begun."""
        now = time.monotonic()
        if self._last == 0.0:
            self._pipes.report_custom_message({"event": "started", "at": time.time()})
        if now - self._last < _EVERY_S and step < total:
            return
        self._last = now
        rate = metrics.get("steps_per_second") or 0.0
        left = f", {(total - step) / rate:.0f} s left" if rate and step < total else ""
        self._pipes.log.info(f"step {step} of {total}: loss {metrics['loss']:.4f}, {rate:.2f} steps/s{left}")

    def checkpoint(self, folder: str, step: int) -> None:
        """Log a checkpoint, and report it."""
        self._pipes.log.info(f"saved {folder}")
        self._pipes.report_custom_message({"event": "checkpoint", "folder": folder, "step": step})

    def finished(self, summary: dict[str, Any]) -> None:
        """Report how the run ended."""
        self._pipes.report_custom_message({"event": "finished", "summary": summary})


@contextlib.contextmanager
def reporter() -> Iterator[PipesReporter]:
    """The reporter, within a Dagster Pipes session. Used as `--report vid_assets.training_report:reporter`."""
    with open_dagster_pipes() as pipes:
        yield PipesReporter(pipes)
