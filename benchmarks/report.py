"""How benchmarks measure and print: alternated runs, medians, a table for people or JSON lines."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Result:
    """One comparison on the same data in the same run. Times in `unit`; `ratio` is `other` over `ours` for times."""

    benchmark: str
    case: str
    ours: float
    other: float
    other_name: str
    unit: str
    repeats: int
    higher_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours over other in speed or score: higher is better. None where it would be over zero."""
        above, below = (self.ours, self.other) if self.higher_is_better else (self.other, self.ours)
        return above / below if below else None


def alternated(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall seconds of each run, taken in turns, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(results: Sequence[Result], as_json: bool) -> None:
    """Print all results."""
    if as_json:
        for one in results:
            record = asdict(one) | {"ratio": None if one.ratio is None else round(one.ratio, 4)}
            print(json.dumps(record))
        return
    rows = [
        (
            one.case,
            f"{one.ours:.4g}",
            f"{one.other:.4g}",
            one.other_name,
            one.unit,
            "-" if one.ratio is None else f"{one.ratio:.3g}",
            str(one.repeats),
        )
        for one in results
    ]
    header = ("case", "ours", "other", "what the other is", "unit", "ratio", "repeats")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
