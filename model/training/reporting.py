"""How a training run is heard of: what it tells while it goes on, and its curves, also for TensorBoard. No torch."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any, Protocol

from model.errors import ModelError


class Reporter(Protocol):
    """Where a run says how it goes. Its methods must be quick."""

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """Told about once a second, and of the last step.

        `metrics`: loss, lr, grad_norm, steps_per_second, step_seconds and samples_per_second (means since the last
        time), seconds_left, data_wait_share (share of step time spent waiting for data), memory_bytes (the peak),
        and heldout_loss where it was measured since the last time.
        """

    def checkpoint(self, folder: str, step: int) -> None:
        """Told of each folder that was written."""

    def finished(self, summary: dict[str, Any]) -> None:
        """Told once, at the end."""


class Silent:
    """The reporter of a process that is not the one which reports."""

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        pass

    def checkpoint(self, folder: str, step: int) -> None:
        pass

    def finished(self, summary: dict[str, Any]) -> None:
        pass


class Curves:
    """The metrics of a run, {name: [[step, value], ...]}; steps count from 1, 0 is before the first.

    Args:
        folder: where TensorBoard files are written as well; None: nowhere.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.points: dict[str, list[list[float]]] = {}
        self._folder = folder
        self._writer: Any = None

    def begin(self, points: dict[str, list[list[float]]], step: int) -> None:
        """Go on after `step` with what was there; TensorBoard drops what an interrupted run wrote after it."""
        self.points = points
        if self._folder is not None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ModelError(f"runtime.tensorboard needs the package tensorboardX: {error}") from None
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else 0)

    def add(self, step: int, **values: float | None) -> None:
        """Add a point to each curve; None is not measured, and adds none."""
        for name, value in values.items():
            if value is not None:
                self.points.setdefault(name, []).append([step, value])
                if self._writer is not None:
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        if self._writer is not None:
            self._writer.close()


class Clock:
    """Where the time of steps goes, since the start and since the last report."""

    def __init__(self) -> None:
        self.seconds = self.waited = 0.0
        self.steps = self.samples = 0
        self._last: tuple[float, float, int, int] = (0.0, 0.0, 0, 0)

    def step(self, seconds: float, waited: float, samples: int) -> None:
        """Count a step that took `seconds`, `waited` of them for data."""
        self.seconds, self.waited = self.seconds + seconds, self.waited + waited
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def metrics(self, steps_left: int) -> dict[str, float]:
        """Means over the steps since this was last asked (at least one), and the time left."""
        now = (self.seconds, self.waited, self.steps, self.samples)
        seconds, waited, steps, samples = (new - old for new, old in zip(now, self._last, strict=True))
        self._last = now
        return {
            "steps_per_second": steps / seconds,
            "step_seconds": seconds / steps,
            "samples_per_second": samples / seconds,
            "data_wait_share": waited / seconds,
            "seconds_left": steps_left * self.seconds / self.steps,
        }


def peak_memory(device: str) -> int:
    """Bytes that were allocated at most: on the GPU where there is one, else by this process."""
    if device.startswith("cuda"):
        return int(sys.modules["torch"].cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
