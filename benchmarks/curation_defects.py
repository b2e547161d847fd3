"""How well the default policy finds defects, on labelled footage that no limit was chosen on.

    python -m benchmarks.curation_defects [--json]

F1 of the clips that the rules of a defect reject, and of the events that tell its times (both ends within a frame).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.labelled.defects import render
from benchmarks.labelled.judging import EVENTS, RULES, events, judged, rejections
from benchmarks.labelled.scorer import Score
from benchmarks.report import Result, report

#: What the project promises on footage that was kept out of tuning.
REQUIRED = 0.95


def rows(folder: Path) -> list[Result]:
    """Render the held-out fixtures into `folder`, if they are not there, and score every defect."""
    cases = [judged(fixture) for fixture in render(folder, "held_out")]
    good = [case for case in cases if case.fixture.kind == "clean"]
    kept = sum(not case.broken for case in good)
    return [
        *(_result(f"{defect}: clips", rejections(cases, defect)) for defect in RULES),
        *(_result(f"{defect}: times", events(cases, defect)) for defect in EVENTS),
        _result("clean clips kept", Score(kept, kept, len(good))),
    ]


def _result(case: str, score: Score) -> Result:
    case = f"{case} (precision {score.precision:.2f}, recall {score.recall:.2f})"
    return Result("curation", case, score.f1, REQUIRED, "required", "F1", 1, higher_is_better=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(rows(Path(folder)), arguments.json)


if __name__ == "__main__":
    main()
