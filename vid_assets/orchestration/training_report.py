"""The reporter of a training run that Dagster started: progress, loss and checkpoints go to Dagster through Pipes.

It runs in the child process and imports Dagster Pipes only, not Dagster. `model.train` loads it by name and knows
nothing of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
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
        """Log the step, its losses, its speed, the memory and the time left."""
        now = time.monotonic()
        if now - self._last < _EVERY_S and step < total and "heldout_loss" not in metrics:
            return
        self._last = now
        self._pipes.log.info(f"step {step} of {total}: {', '.join(_words(metrics))}")

    def checkpoint(self, folder: str, step: int) -> None:
        """Log a checkpoint."""
        self._pipes.log.info(f"saved {folder}")

    def finished(self, summary: dict[str, Any]) -> None:
        """The asset reads how the run ended from its folder."""


def _words(metrics: dict[str, float]) -> Iterator[str]:
    """What was measured, in words; what was not is left out."""
    for name, form in _FORMS.items():
        if metrics.get(name) is not None:
            yield form(metrics[name])


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


_FORMS: dict[str, Callable[[float], str]] = {
    "loss": lambda value: f"loss {value:.4f}",
    "heldout_loss": lambda value: f"held-out loss {value:.4f}",
    "lr": lambda value: f"lr {value:.3g}",
    "step_seconds": lambda value: f"{value:.3g} s a step",
    "samples_per_second": lambda value: f"{value:.3g} samples/s",
    "data_wait_share": lambda value: f"{value:.1%} of it waiting for data",
    "memory_bytes": lambda value: f"{value / 2**30:.2f} GiB",
    "seconds_left": lambda value: f"{_time(value)} left",
}


@contextlib.contextmanager
def reporter() -> Iterator[PipesReporter]:
    """The reporter, within a Dagster Pipes session; `model.train` is given its name as `--report`."""
    with open_dagster_pipes() as pipes:
        yield PipesReporter(pipes)
