"""What a training run tells Dagster while it goes on."""

from __future__ import annotations

from vid_assets.orchestration.training_report import PipesReporter


class Pipes:
    """Stands in for a Pipes session: keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = self

    def info(self, line: str) -> None:
        self.lines.append(line)


def test_progress_says_what_was_measured_and_when_it_ends():
    pipes = Pipes()
    metrics = {
        "loss": 0.5, "lr": 1e-4, "grad_norm": 1.0, "steps_per_second": 2.0, "step_seconds": 0.5,
        "samples_per_second": 8.0, "data_wait_share": 0.014, "memory_bytes": 3 * 2**29, "seconds_left": 3725.0,
    }  # fmt: skip
    PipesReporter(pipes).progress(10, 100, metrics)  # type: ignore[arg-type]
    assert pipes.lines == [
        "step 10 of 100: loss 0.5000, lr 0.0001, 0.5 s a step, 8 samples/s, 1.4% of it waiting for data, 1.50 GiB, "
        "1 h 02 min left"
    ]


def test_between_lines_only_a_held_out_loss_and_the_last_step_are_told():
    pipes = Pipes()
    report = PipesReporter(pipes)  # type: ignore[arg-type]
    report.progress(1, 9, {"loss": 3.0})
    report.progress(2, 9, {"loss": 2.0})
    report.progress(3, 9, {"loss": 1.0, "heldout_loss": 1.5})
    report.progress(4, 9, {"loss": 0.9})
    report.progress(9, 9, {"loss": 0.5, "seconds_left": 0.0})
    assert pipes.lines == [
        "step 1 of 9: loss 3.0000", "step 3 of 9: loss 1.0000, held-out loss 1.5000",
        "step 9 of 9: loss 0.5000, 0 s left",
    ]  # fmt: skip
