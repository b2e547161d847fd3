"""`evaluation/<stage>`: what a checkpoint does on held-out samples, and what it generates, beside the data.

The checkpoint of the stage before, which it started from, is measured on the same samples and noise. Other experiments
are not part of it: they are compared with from what is stored of them, see `comparisons`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vid_assets.project import Project
from vid_assets.steps.manifests import final_folder, manifest, read_record
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest

Progress = Callable[[str], None]
#: What is measured of a checkpoint, by its key in the evaluation of `model`, and by its name in the facts.
NUMBERS = {
    "heldout_loss": "held-out loss",
    "heldout_loss_by_time": "held-out loss by time",
    "heldout_loss_by_bucket": "held-out loss by bucket",
    "motion": "motion",
    "motion_ratio": "motion, over the data's",
}


def evaluation(
    project: Project, stage: str, experiment: str, force: bool = False, progress: Progress = print
) -> Output:
    """Evaluate a checkpoint: its held-out loss, and its videos as files."""
    from model.evaluate import evaluate

    final = final_folder(project, stage, experiment)
    record = read_record(final)
    settings = project.config.evaluation.model_dump()
    folder = project.folder("evaluations", experiment, stage, digest([record["weights_hash"], settings])[:16])
    training = manifest(project, stage, experiment, activation="none")  # nothing is kept for a backward pass
    document = training | {"checkpoint": str(final), "evaluation": settings, "output": str(folder)}
    before, gone = _before(project, stage, record)
    found = evaluate(document | {"compare": before})
    files = _files(folder)
    notes = [note for note in (found["note"], gone) if note]
    facts: dict[str, Any] = {
        "folder": str(folder.relative_to(project.local)),
        "checkpoint": record["weights_hash"],
        "objective": training["recipe"]["objective"],
        "measured on": digest([training["training_set"]["digest"], training["vae"]["weights_hash"], settings["seed"]]),
        "held-out samples": found["heldout_samples"],
        **_numbers(found),
        "motion of the data": found["data_motion"],
        "compared with": {other["name"]: _numbers(other) for other in found["compare"]},
        "notes": notes,
        "vae note": project.config.vae.note or "",
        "generated": sum(video["kind"] == "generated" for video in found["videos"]),
        "bytes": sum(size for _, size in files),
    }
    version = digest([record["weights_hash"], settings, found["heldout_loss"]])
    return Output(version, digest(files), rows=len(files), computed=len(files), facts=facts)


def _before(project: Project, stage: str, record: dict[str, Any]) -> tuple[list[dict[str, str]], str | None]:
    """The checkpoint that this one started from, to be measured beside it; where it is gone, a note that says so."""
    parent, previous = record["parent"], project.config.previous_stage(stage)
    if parent is None or previous is None:
        return [], None
    folder = Path(parent["folder"])
    if not (folder / "checkpoint.json").is_file() or read_record(folder)["weights_hash"] != parent["weights_hash"]:
        return [], f"the checkpoint of {previous.name} that it started from is gone, so it is not compared with"
    return [{"name": previous.name, "folder": str(folder)}], None


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """What was measured of a checkpoint; what was not is None."""
    return {name: found[key] for key, name in NUMBERS.items()}


def _files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(file.relative_to(folder)), file.stat().st_size) for file in folder.rglob("*") if file.is_file())


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """Digest of the evaluation's files, None where they are gone."""
    files = _files(Path(project.local, state.facts["folder"]))
    return digest(files) if files else None
