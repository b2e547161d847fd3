"""`checkpoint/<stage>`: let a child process train from a manifest, and keep what it used and how it went.

A run's folder is named by everything that decides what is learned, so that an interrupted run is found again and
goes on, and a changed recipe never mixes with an older run.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.memory.case import in_words
from model.weights import checkpoint_hash
from vid_assets.project import Project
from vid_assets.steps.manifests import TrainingError, manifest, read_record, run_key
from vid_assets.steps.plan import plan_for
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest

Progress = Callable[[str], None]
#: Starts the command and waits for it; raises when it fails.
Launch = Callable[[list[str]], None]
#: Metric name -> [[step, value], ...], as a run records them.
Curves = dict[str, list[list[float]]]


def checkpoint(
    project: Project,
    stage: str,
    experiment: str,
    launch: Launch,
    force: bool = False,
    progress: Progress = print,
    dagster_run_id: str | None = None,
    report: str | None = None,
    parent_pid: int | None = None,
) -> Output:
    """Train a stage to its end, going on from where an interrupted run of the same manifest stopped."""
    document = manifest(project, stage, experiment)
    plan = _planned(project, stage, experiment, progress)
    key = run_key(document)
    folder = project.folder("checkpoints", experiment, stage) / key
    final = folder / "final"
    if force and folder.exists():
        aside = folder.with_name(f"{key}-before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        folder.rename(aside)
        progress(f"forced: the earlier run was moved to {aside}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    path.write_text(json.dumps(document | {"output": str(folder)}, indent=1), encoding="utf-8")
    trained = not final.exists()
    if not trained and (fault := _fault(final)):
        aside = final.with_name(f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        final.rename(aside)
        progress(f"{final} {fault}; it was moved to {aside}, and is trained again from the last saved step")
        trained = True
    if trained:
        command = [sys.executable, "-m", "model.train", "--manifest", str(path)]
        command += ["--report", report] if report else []
        command += ["--parent-pid", str(parent_pid)] if parent_pid else []
        launch(command)
    record, curves = read_record(final), read_curves(final)
    losses = [loss for _, loss in curves["loss"]]
    _keep_run(project, key, document, record, folder, dagster_run_id)
    _keep_curves(project, key, curves)
    return Output(
        record["weights_hash"],
        _files_digest(final, record["weights_hash"]),
        rows=len(losses),
        computed=len(losses) if trained else 0,
        cached=0 if trained else len(losses),
        facts={
            "folder": str(final.relative_to(project.local)),
            "run key": key,
            **_how_it_went(losses, curves, record["summary"]),
            "memory plan": plan,
            "objective": document["recipe"]["objective"],
            "training set": document["training_set"]["digest"],
            "latents version": document["training_set"]["latents_version"],
            "vae weights": document["vae"]["weights_hash"],
            "pretrained weights": (document["recipe"]["weights"] or {}).get("weights_hash", "none"),
            "parent weights": (document["parent"] or {}).get("weights_hash", "none"),
            "weights": record["weights_hash"],
            "bytes": sum(file.stat().st_size for file in final.rglob("*") if file.is_file()),
        },
    )


def _planned(project: Project, stage: str, experiment: str, progress: Progress) -> str:
    """The memory plan of a run as Markdown, told before it starts; one that cannot be made stops nothing."""
    try:
        plan = plan_for(project, stage, experiment)
    except ModelError as error:
        progress(f"memory was not planned: {error}")
        return f"not planned: {error}"
    beside = ", beside what Python and its libraries take" if plan.case.device == "cpu" else ""
    peak = f", {in_words(plan.usage.peak)} predicted{beside}" if plan.usage else ""
    warning = "; THIS IS MORE THAN train.memory_gb" if plan.fits is False else ""
    progress(f"memory plan: policy {plan.chosen}{peak}{warning}")
    return plan.markdown()


def _how_it_went(losses: list[float], curves: Curves, summary: dict[str, Any]) -> dict[str, Any]:
    """The losses, the speed and the memory of a run, as far as they were measured."""
    tail = losses[-max(1, len(losses) // 10) :]
    heldout = summary["heldout"]
    seconds = [value for _, value in curves.get("step_seconds", [])]
    found: dict[str, Any] = {
        "steps": len(losses),
        "first loss": losses[0],
        "last loss": losses[-1],
        "mean loss of the last tenth": sum(tail) / len(tail),
        "held-out loss at the start": heldout["start"],
        "held-out loss": heldout["final"],
        "best held-out loss": heldout["best"],
        "seconds a step, median": round(statistics.median(seconds), 4) if seconds else None,
        "samples": summary["samples"],
        "samples a second": _by_kind(summary),
        "share of time waiting for data": summary["data_wait_share"],
        "peak memory, bytes": summary["memory_bytes"],
        "processes": summary["processes"],
        "device": summary["device"],
        "parameters": summary["parameters"],
        "parameters that were trained": summary["trained_parameters"],
        "recomputed": summary["recomputed"],
        "latents read": _route(summary["read_through_lance"]),
        "resumed from step": summary["resumed_from"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _by_kind(summary: dict[str, Any]) -> dict[str, float] | None:
    """Samples of each kind in a second, by the share of all samples that they are; None where no step was timed."""
    rate, samples = summary["samples_per_second"], summary["samples"]
    if not rate:
        return None
    return {kind: round(rate * count / sum(samples.values()), 3) for kind, count in samples.items() if count}


def _route(through_lance: str | None) -> str:
    """How the loader got at the bytes of latents."""
    return f"through Lance: {through_lance}" if through_lance else "from a memory map"


def read_curves(final: Path) -> Curves:
    """What a finished run recorded along its way, by name."""
    return json.loads((final / "curves.json").read_text(encoding="utf-8"))


def _keep_run(
    project: Project,
    key: str,
    document: dict[str, Any],
    record: dict[str, Any],
    folder: Path,
    dagster_run_id: str | None,
) -> None:
    row = {
        "run_key": key,
        "experiment": document["experiment"],
        "stage": document["stage"],
        "digest": document["training_set"]["digest"],
        "latents_version": document["training_set"]["latents_version"],
        "vae_weights_hash": document["vae"]["weights_hash"],
        "parent": (document["parent"] or {}).get("weights_hash"),
        "recipe": json.dumps(document["recipe"], sort_keys=True),
        "folder": str(folder.relative_to(project.local)),
        "weights_hash": record["weights_hash"],
        "dagster_run_id": dagster_run_id,
        "created_at": datetime.now(UTC),
    }
    project.store.upsert("runs", [row])


def _keep_curves(project: Project, key: str, curves: Curves) -> None:
    """The curves as rows of `metrics`; what was not measured at a step has no row."""
    rows = [
        {"metric_id": f"{key}/{name}/{int(step):08d}", "run_key": key, "name": name, "step": int(step), "value": value}
        for name, points in curves.items()
        for step, value in points
        if value is not None
    ]
    project.store.upsert("metrics", rows)


def _fault(final: Path) -> str | None:
    """What is wrong with a finished checkpoint: its weights are read and hashed; None where it is whole."""
    try:
        if checkpoint_hash(final) != read_record(final)["weights_hash"]:
            return "does not hold the weights that it names"
        read_curves(final)
    except (TrainingError, ModelError, OSError, ValueError, KeyError) as error:
        return f"is not whole ({error})"
    return None


def _files_digest(final: Path, weights_hash: str) -> str:
    """Digest of a finished checkpoint: its weights' hash, and the names and sizes of its files."""
    files = sorted((str(file.relative_to(final)), file.stat().st_size) for file in final.rglob("*") if file.is_file())
    return digest([weights_hash, files])


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the checkpoint's folder, None where it is gone."""
    final = Path(project.local, state.facts["folder"])
    try:
        return _files_digest(final, read_record(final)["weights_hash"])
    except (TrainingError, KeyError):
        return None
