"""How a training run is heard of: what it tells while it goes on, and its loss curve in few points. No torch."""

from __future__ import annotations

import math
from typing import Any, Protocol

_CURVE_POINTS = 500


class Reporter(Protocol):
    """Where a run says how it goes. Its methods must be quick."""

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None: ...

    def checkpoint(self, folder: str, step: int) -> None: ...

    def finished(self, summary: dict[str, Any]) -> None: ...


def curve(losses: list[float]) -> list[float]:
    """At most 500 points of a loss curve, each the mean of as many neighbours as are needed for that."""
    width = math.ceil(len(losses) / _CURVE_POINTS) or 1
    pieces = [losses[start : start + width] for start in range(0, len(losses), width)]
    return [sum(piece) / len(piece) for piece in pieces]
