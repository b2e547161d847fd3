"""What is computed again after which change: exactly these assets, and so many rows."""

from __future__ import annotations

from vid_assets_tests.harness import Home


def start(home, put, training: bool = False, **config) -> Home:
    made = home(**config)
    put(made, "one.mp4", caption="a red shape")
    put(made, "two.mp4")
    put(made, "still.png", caption="a still")
    made.run(training)
    return made


def test_first_run_computes_everything_and_nothing_changed_computes_nothing(home, put):
    made = start(home, put)
    assert made.run() == {}
    assert made.rows("verdicts") and all(row["accepted"] for row in made.rows("verdicts"))
