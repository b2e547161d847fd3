"""Trained stages beside one another, from what is stored of them: nothing is computed, and nothing depends on it.

An evaluation measures its own checkpoint and the one that it started from. What other experiments came to in the same
stage is read from their states whenever it is shown, so that a new experiment makes no other one stale; what is not on
equal terms (other samples, another objective, a checkpoint that is newer than its evaluation) is told, not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vid_assets.project import Project
from vid_assets.steps.evaluations import NUMBERS
from vid_assets.store.state import StageState
from vid_assets.views.markdown import table

Facts = Mapping[str, Any]


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


def compared(project: Project, stage: str, experiment: str, facts: Facts) -> list[Compared]:
    """A stage's evaluation, that of the checkpoint it started from, and those of the other experiments."""
    found = [_one(experiment, facts, facts, ())]
    for name, numbers in facts.get("compared with", {}).items():
        found.append(_one(f"{name}, before", numbers, facts, ()))
    for other in project.config.experiments:
        state = project.states.read(f"evaluation/{stage}", other)
        if other != experiment and state is not None:
            found.append(_one(other, state.facts, facts, _unequal(project, stage, state, facts), state.finished_at))
    return found


def _one(name: str, numbers: Facts, first: Facts, notes: tuple[str, ...], finished_at: str = "") -> Compared:
    loss, base = numbers.get(NUMBERS["heldout_loss"]), first.get(NUMBERS["heldout_loss"])
    return Compared(
        name,
        loss,
        numbers.get(NUMBERS["heldout_loss_by_time"]) or {},
        numbers.get(NUMBERS["motion_ratio"]),
        loss / base - 1 if loss is not None and base and numbers is not first and not notes else None,
        notes,
        finished_at,
    )


def _unequal(project: Project, stage: str, state: StageState, first: Facts) -> tuple[str, ...]:
    """Why another experiment's evaluation cannot be held against the first."""
    checkpoint = project.states.read(f"checkpoint/{stage}", state.partition)
    trained = checkpoint.facts.get("weights") if checkpoint else None
    reasons = {
        "measured on other samples or noise": state.facts.get("measured on") != first.get("measured on"),
        "another objective": state.facts.get("objective") != first.get("objective"),
        "its checkpoint was trained again since": trained != state.facts.get("checkpoint"),
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


def training_table(project: Project, stage: str, experiment: str, facts: Facts) -> str:
    """How the training of a stage went beside that of the stages before it and of the other experiments."""
    rows = [(f"{experiment}, {stage}", facts)]
    before = project.config.previous_stage(stage)
    while before is not None:
        rows.append((f"{experiment}, {before.name}", _facts(project, before.name, experiment)))
        before = project.config.previous_stage(before.name)
    rows += [
        (f"{one}, {stage}", _facts(project, stage, one)) for one in project.config.experiments if one != experiment
    ]
    return table(
        ("run", "steps", "held-out at the start", "held-out", "fall", "loss, last tenth", "samples/s", "note"),
        [_trained(name, one, facts) for name, one in rows if one],
    )


def _facts(project: Project, stage: str, experiment: str) -> Facts:
    state = project.states.read(f"checkpoint/{stage}", experiment)
    return state.facts if state else {}


def _trained(name: str, one: Facts, first: Facts) -> tuple[str, ...]:
    start, end = one.get("held-out loss at the start"), one.get("held-out loss")
    fall = f"{1 - end / start:.1%}" if start and end is not None else ""
    rate = one.get("samples a second")
    differs = {key: one.get(key) != first.get(key) for key in ("training set", "objective")}
    notes = [f"another {key}" for key, yes in differs.items() if yes]
    speed = f"{sum(rate.values()):.3g}" if rate else ""
    tail = number(one.get("mean loss of the last tenth"))
    return (name, f"{one['steps']:,}", number(start), number(end), fall, tail, speed, ", ".join(notes))


def number(value: float | None) -> str:
    """A loss as people read it; nothing where it was not measured."""
    return "" if value is None else f"{value:.4g}"
