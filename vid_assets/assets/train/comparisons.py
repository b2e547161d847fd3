"""Trained stages beside one another, from what is stored of them: nothing is computed, and nothing depends on it.

An evaluation measures its own checkpoint and the one that it started from. What other experiments came to in the same
stage is read from their states whenever it is shown, so that a new experiment makes no other one stale; what is not on
equal terms (other samples, another objective, a checkpoint that is newer than its evaluation) is told, not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vid_assets.assets.asset import ShownFacts
from vid_assets.assets.train.facts import Evaluated, Measured, Trained
from vid_assets.assets.train.names import CHECKPOINT, EVALUATION
from vid_assets.project import Project
from vid_assets.store.state import AssetState
from vid_assets.views.markdown import table


@dataclass(frozen=True)
class Compared:
    """A checkpoint's numbers. None is not measured. `against` is the held-out loss over that of the first, less one.

    `notes` say what keeps it from being on equal terms with the first; there is no `against` then.
    """

    name: str
    heldout_loss: float | None
    by_time: dict[str, float]
    motion_ratio: float | None
    against: float | None
    notes: tuple[str, ...]
    finished_at: str = ""


def compared(project: Project, stage: str, experiment: str, facts: ShownFacts) -> list[Compared]:
    """A stage's evaluation, that of the checkpoint it started from, and those of the other experiments."""
    first = Evaluated.read(facts)
    found = [_one(experiment, first, first, ())]
    for name, numbers in (first.compared_with or {}).items():
        found.append(_one(f"{name}, before", Measured.read(numbers), first, ()))
    for other in project.config.experiments:
        state = project.states.read(f"{EVALUATION}/{stage}", other)
        if other != experiment and state is not None:
            found.append(_other(project, stage, state, first))
    return found


def _other(project: Project, stage: str, state: AssetState, first: Evaluated) -> Compared:
    numbers = Evaluated.read(state.facts)
    notes = _unequal(project, stage, state.partition, numbers, first)
    return _one(str(state.partition), numbers, first, notes, state.finished_at)


def _one(name: str, numbers: Measured, first: Measured, notes: tuple[str, ...], finished_at: str = "") -> Compared:
    loss, base = numbers.heldout_loss, first.heldout_loss
    return Compared(
        name,
        loss,
        numbers.by_time or {},
        numbers.motion_ratio,
        loss / base - 1 if loss is not None and base and numbers is not first and not notes else None,
        notes,
        finished_at,
    )


def _unequal(
    project: Project, stage: str, experiment: str | None, other: Evaluated, first: Evaluated
) -> tuple[str, ...]:
    """Why another experiment's evaluation cannot be held against the first."""
    checkpoint = project.states.read(f"{CHECKPOINT}/{stage}", experiment)
    trained = Trained.read(checkpoint.facts).weights if checkpoint else None
    reasons = {
        "measured on other samples or noise": other.measured_on != first.measured_on,
        "another objective": other.objective != first.objective,
        "its checkpoint was trained again since": trained != other.checkpoint,
    }
    return tuple(words for words, holds in reasons.items() if holds)


def comparison_table(rows: Sequence[Compared]) -> str:
    """The comparison as Markdown."""
    lines = []
    for row in rows:
        notes = [*row.notes, f"as of {row.finished_at[:16]}" if row.finished_at else ""]
        against = "" if row.against is None else f"{row.against:+.1%}"
        ratio = "" if row.motion_ratio is None else f"{row.motion_ratio:.2f}"
        lines.append((row.name, number(row.heldout_loss), against, ratio, ", ".join(filter(None, notes))))
    return table(("", "held-out loss", "against this", "motion, over the data's", "note"), lines)


def training_table(project: Project, stage: str, experiment: str, facts: ShownFacts) -> str:
    """How the training of a stage went beside that of the stages before it and of the other experiments."""
    first = Trained.read(facts)
    rows = [(f"{experiment}, {stage}", first)]
    before = project.config.previous_stage(stage)
    while before is not None:
        rows += _run(project, before.name, experiment)
        before = project.config.previous_stage(before.name)
    for other in project.config.experiments:
        rows += _run(project, stage, other) if other != experiment else []
    return table(
        ("run", "steps", "held-out at the start", "held-out", "fall", "loss, last tenth", "samples/s", "note"),
        [_trained(name, one, first) for name, one in rows],
    )


def _run(project: Project, stage: str, experiment: str) -> list[tuple[str, Trained]]:
    """A run under its name, where it is finished."""
    state = project.states.read(f"{CHECKPOINT}/{stage}", experiment)
    return [(f"{experiment}, {stage}", Trained.read(state.facts))] if state else []


def _trained(name: str, one: Trained, first: Trained) -> tuple[str, ...]:
    start, end = one.heldout_start, one.heldout
    fall = f"{1 - end / start:.1%}" if start and end is not None else ""
    differs = {
        "another training set": one.training_set != first.training_set,
        "another objective": one.objective != first.objective,
    }
    notes = ", ".join(words for words, yes in differs.items() if yes)
    speed = f"{sum(one.rate.values()):.3g}" if one.rate else ""
    return (name, f"{one.steps:,}", number(start), number(end), fall, number(one.tail_loss), speed, notes)


def number(value: float | None) -> str:
    """A loss as people read it; nothing where it was not measured."""
    return "" if value is None else f"{value:.4g}"
