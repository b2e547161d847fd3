"""Activation checkpointing: what each policy holds, computes again and takes, predicted against measured.

    python -m benchmarks.memory                        a tiny model, really trained on this machine
    python -m benchmarks.memory --preset svd --bucket 72x576x1024 --policies block     the same on a GPU that can
    python -m benchmarks.memory --predict --preset svd --bucket 72x576x1024            predicted alone, on any machine

Measured are, on a GPU, `torch.cuda.max_memory_allocated` over whole steps, optimiser and average included (the
prediction's reserve, which is no tensor, aside); on a CPU, the tensors that are alive at once in the forward and
backward pass, followed one by one. Step times are medians of alternated steps.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import Any

import torch

from benchmarks.report import Result, report
from model.compute.numerics import autocast
from model.memory import activation
from model.memory import plan as memory
from model.memory.case import GIB, Case, Usage, latent_shape
from model.recipe import Optimizer
from model.training.ema import Ema
from model.training.optimizers import make_optimizer


class Training:
    """A model under one policy that takes training steps on made latents."""

    def __init__(self, case: Case, policy: activation.ActivationPolicy) -> None:
        self.case = case
        self.model = memory._model(case, case.device)
        activation.apply(self.model, policy)
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        self.optimizer = make_optimizer(Optimizer.model_validate({"name": case.optimizer}), self.weights, 1e-6)
        self.ema = Ema(self.weights, 0.99)
        with torch.device(case.device):
            self.latents, self.predict = memory._call(case, self.model)

    def step(self) -> float:
        """Take one step; wall seconds."""
        _wait(self.case.device)
        started = time.perf_counter()
        with torch.device(self.case.device), autocast(self.case.device, self.case.precision):
            loss = (self.predict() - self.latents).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(1)
        _wait(self.case.device)
        return time.perf_counter() - started


def measured(case: Case, usages: list[Usage], repeats: int) -> list[tuple[Usage, int, float]]:
    """(usage, peak in bytes, median seconds of a step) of each policy."""
    peaks: list[int] = []
    seconds: list[list[float]] = [[] for _ in usages]
    if case.device == "cuda":  # one after the other: together they would not fit
        for usage, times in zip(usages, seconds, strict=True):
            training = Training(case, usage.policy)
            training.step()  # the optimiser's state comes with the first step
            torch.cuda.reset_peak_memory_stats()
            times += [training.step() for _ in range(repeats)]
            peaks.append(torch.cuda.max_memory_allocated())
            del training
            gc.collect()
            torch.cuda.empty_cache()
    else:
        trainings = [Training(case, usage.policy) for usage in usages]
        for number in range(repeats + 1):
            for training, times in zip(trainings, seconds, strict=True):
                took = training.step()
                times += [took] if number else []  # the first step is warm-up
        for usage in usages:
            peaks.append(usage.peak - usage.backward + memory._measure(case, usage.policy, fake=False).peak)
    return [(usage, peak, statistics.median(times)) for usage, peak, times in zip(usages, peaks, seconds, strict=True)]


def main() -> None:
    """Plan, measure, and print both."""
    options = _options()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        torch.set_num_threads(1)
    frames, height, width = (int(side) for side in options.bucket.split("x"))
    case = Case(
        options.preset,
        latent_shape(options.preset, frames, height, width),
        samples=options.micro_batch,
        text_tokens=64,
        precision=options.precision,
        optimizer=options.optimizer,
        device="cuda" if options.predict and not options.device else device,
    )
    started = time.perf_counter()
    usages = memory.plan(case, tuple(options.policies) if options.policies else None)
    planned = time.perf_counter() - started
    name = f"{options.preset} {options.bucket}"
    if options.predict:
        rows = [(usage, None, None) for usage in usages]
    else:
        rows = [*measured(case, usages, options.repeats)]  # type: ignore[list-item]
    if not options.json:
        _table(case, name, rows, planned)
        return
    results = []
    for usage, peak, seconds in rows:
        if peak is not None and seconds is not None:
            results.append(
                Result("memory", f"{name} {usage.name}: peak", _tensors(usage), peak, "measured", "bytes", 1)
            )
            results.append(
                Result(
                    "memory", f"{name} {usage.name}: step", seconds, rows[0][2], rows[0][0].name, "s", options.repeats
                )
            )
        else:
            least = usages[0]
            results.append(
                Result("memory", f"{name} {usage.name}: peak", usage.peak, least.peak, least.name, "bytes", 1)
            )
    report(results, as_json=True)


def _tensors(usage: Usage) -> int:
    return usage.peak - usage.reserve


def _table(case: Case, name: str, rows: list[tuple[Usage, Any, Any]], planned: float) -> None:
    unit, size = ("GiB", GIB) if max(_tensors(usage) for usage, *_ in rows) >= GIB else ("MiB", 2**20)
    print(f"{name}, {case.samples} in a pass, {case.precision} on {case.device}; planned in {planned:.0f} s; {unit}")
    print(f"{'policy':12}{'saved':>9}{'predicted':>11}{'measured':>10}{'apart':>7}{'recomputed':>12}{'step s':>9}")
    for usage, peak, seconds in rows:
        shown = (f"{peak / size:.2f}", f"{_tensors(usage) / peak - 1:+.0%}") if peak is not None else ("-", "-")
        took = "-" if seconds is None else f"{seconds:.3f}"
        print(
            f"{usage.name:12}{usage.saved / size:9.2f}{_tensors(usage) / size:11.2f}{shown[0]:>10}{shown[1]:>7}"
            f"{usage.recompute_share:12.0%}{took:>9}"
        )
    print("\n".join(f"{usage.name}: {_coverage(usage)}" for usage, *_ in rows))


def _coverage(usage: Usage) -> str:
    return (
        ", ".join(f"{done} of {total} {kind}" for kind, done, total in usage.coverage if done) or "recomputes nothing"
    )


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="svd-tiny")
    parser.add_argument("--bucket", default="8x128x128", help="frames x height x width of the clips")
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--optimizer", default="adamw_fused")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--policies", nargs="+", choices=activation.POLICIES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--predict", action="store_true", help="measure nothing; for a GPU that need not be here")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
