"""`checkpoint/<stage>`: let a child process train from a manifest, and keep what it used and how it went.

A run's folder is named by everything that decides what is learned, so that an interrupted run is found again and
goes on, and a changed recipe never mixes with an older run.
"""

from __future__ import annotations

import json
import math
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.checkpoint import CheckpointError, Record, read_record
from model.errors import ModelError
from model.manifest import TRAIN_CODE_VERSION
from model.memory.case import in_words
from model.weights import checkpoint_hash
from vid_assets.assets.asset import Asset, Check, Finding, Slice, Work
from vid_assets.assets.train.facts import Trained
from vid_assets.assets.train.manifest import (
    manifest,
    pretrained,
    run_key,
    training_runtime,
)
from vid_assets.assets.train.memory_plan import plan_for
from vid_assets.assets.train.names import CHECKPOINT, TRAINING_SET
from vid_assets.assets.train.views import Curves, checkpoint_views, read_curves
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.store.cache import Output
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Store


def checkpoint(work: Work) -> Output:
    """Train a stage to its end, going on from where an interrupted run of the same manifest stopped."""
    document = manifest(work)
    plan = _planned(work)
    key = run_key(document)
    folder = work.folder("checkpoints", work.experiment, work.runtime["stage"]) / key
    final = folder / "final"
    if work.force and folder.exists():
        aside = folder.with_name(f"{key}-before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        folder.rename(aside)
        work.progress(f"forced: the earlier run was moved to {aside}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    path.write_text(json.dumps(document | {"output": str(folder)}, indent=1), encoding="utf-8")
    trained = not final.exists()
    if not trained and (fault := _fault(final)):
        aside = final.with_name(f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        final.rename(aside)
        work.progress(f"{final} {fault}; it was moved to {aside}, and is trained again from the last saved step")
        trained = True
    if trained:
        work.train(path)
    record, curves = read_record(final), read_curves(final)
    steps = len(curves["loss"])
    _keep_run(work, key, document, record, str(folder.relative_to(work.local)))
    _keep_curves(work.store, key, curves)
    return Output(
        record.weights_hash,
        _files_digest(final, record.weights_hash),
        rows=steps,
        computed=steps if trained else 0,
        cached=0 if trained else steps,
        facts=Trained(
            folder=str(final.relative_to(work.local)),
            run_key=key,
            **_how_it_went(curves, record.summary),
            memory_plan=plan,
            objective=document["recipe"]["objective"],
            training_set=document["training_set"]["digest"],
            latents_version=document["training_set"]["latents_version"],
            vae_weights=document["vae"]["weights_hash"],
            pretrained_weights=(document["recipe"]["weights"] or {}).get("weights_hash", "none"),
            parent_weights=(document["parent"] or {}).get("weights_hash", "none"),
            weights=record.weights_hash,
            bytes=sum(file.stat().st_size for file in final.rglob("*") if file.is_file()),
        ).measured(),
    )


def _planned(work: Work) -> str:
    """The memory plan of a run as Markdown, told before it starts; one that cannot be made stops nothing."""
    try:
        plan = plan_for(work.folder("plans"), work.runtime["setup"])
    except ModelError as error:
        work.progress(f"memory was not planned: {error}")
        return f"not planned: {error}"
    beside = ", beside what Python and its libraries take" if plan.case.device == "cpu" else ""
    peak = f", {in_words(plan.usage.peak)} predicted{beside}" if plan.usage else ""
    warning = "; THIS IS MORE THAN train.memory_gb" if plan.fits is False else ""
    work.progress(f"memory plan: policy {plan.chosen}{peak}{warning}")
    return plan.markdown()


def _how_it_went(curves: Curves, summary: dict[str, Any]) -> dict[str, Any]:
    """The losses, the speed and the memory of a run, by field of `Trained`."""
    losses = [loss for _, loss in curves["loss"]]
    tail = losses[-max(1, len(losses) // 10) :]
    heldout = summary["heldout"]
    seconds = [value for _, value in curves.get("step_seconds", [])]
    return {
        "steps": len(losses),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "tail_loss": sum(tail) / len(tail),
        "heldout_start": heldout["start"],
        "heldout": heldout["final"],
        "best": heldout["best"],
        "step_seconds": round(statistics.median(seconds), 4) if seconds else None,
        "samples": summary["samples"],
        "rate": _by_kind(summary),
        "data_wait_share": summary["data_wait_share"],
        "memory_bytes": summary["memory_bytes"],
        "processes": summary["processes"],
        "device": summary["device"],
        "parameters": summary["parameters"],
        "trained_parameters": summary["trained_parameters"],
        "recomputed": summary["recomputed"],
        "latents_read": _route(summary["read_through_lance"]),
        "resumed_from": summary["resumed_from"],
    }


def _by_kind(summary: dict[str, Any]) -> dict[str, float] | None:
    """Samples of each kind in a second, by the share of all samples that they are; None where no step was timed."""
    rate, samples = summary["samples_per_second"], summary["samples"]
    if not rate:
        return None
    return {kind: round(rate * count / sum(samples.values()), 3) for kind, count in samples.items() if count}


def _route(through_lance: str | None) -> str:
    """How the loader got at the bytes of latents."""
    return f"through Lance: {through_lance}" if through_lance else "from a memory map"


def _keep_run(work: Work, key: str, document: dict[str, Any], record: Record, folder: str) -> None:
    row = {
        "run_key": key,
        "experiment": document["experiment"],
        "stage": document["stage"],
        "digest": document["training_set"]["digest"],
        "latents_version": document["training_set"]["latents_version"],
        "vae_weights_hash": document["vae"]["weights_hash"],
        "parent": (document["parent"] or {}).get("weights_hash"),
        "recipe": json.dumps(document["recipe"], sort_keys=True),
        "folder": folder,
        "weights_hash": record.weights_hash,
        "dagster_run_id": work.run_id,
        "created_at": datetime.now(UTC),
    }
    work.store.upsert("runs", [row])


def _keep_curves(store: Store, key: str, curves: Curves) -> None:
    """The curves as rows of `metrics`; what was not measured at a step has no row."""
    rows = [
        {"metric_id": f"{key}/{name}/{int(step):08d}", "run_key": key, "name": name, "step": int(step), "value": value}
        for name, points in curves.items()
        for step, value in points
        if value is not None
    ]
    store.upsert("metrics", rows)


def _fault(final: Path) -> str | None:
    """What is wrong with a finished checkpoint: its weights are read and hashed; None where it is whole."""
    try:
        if checkpoint_hash(final) != read_record(final).weights_hash:
            return "does not hold the weights that it names"
        read_curves(final)
    except (ModelError, OSError, ValueError) as error:
        return f"is not whole ({error})"
    return None


def _files_digest(final: Path, weights_hash: str) -> str:
    """Digest of a finished checkpoint: its weights' hash, and the names and sizes of its files."""
    files = sorted((str(file.relative_to(final)), file.stat().st_size) for file in final.rglob("*") if file.is_file())
    return digest([weights_hash, files])


def _verify(work: Work, state: AssetState) -> str | None:
    """The present digest of the checkpoint's folder, None where it is gone."""
    final = work.local / Trained.read(state.facts).folder
    try:
        return _files_digest(final, read_record(final).weights_hash)
    except CheckpointError:
        return None


def _loss_finite(work: Work, output: Output) -> Finding:
    found = Trained.read(output.facts)
    words = f"loss {found.first_loss:.4g} -> {found.last_loss:.4g} in {found.steps} steps"
    return Finding(math.isfinite(found.first_loss) and math.isfinite(found.last_loss), words)


def _heldout_falls(work: Work, output: Output) -> Finding:
    found = Trained.read(output.facts)
    start, end, best = found.heldout_start, found.heldout, found.best
    if start is None or end is None:
        return Finding(True, "no sample is held out, so it was not measured")
    words = f"held-out loss {start:.4g} -> {end:.4g} ({end / start - 1:+.1%})"
    if best and best["loss"] < end:
        words += f", the lowest was {best['loss']:.4g} at step {best['step']}"
    return Finding(end < start, words, {"start": start, "end": end})


def _weights(work: Work) -> dict[str, str]:
    found = pretrained(work)
    return {"pretrained weights": found["weights_hash"]} if found else {}


def checkpoint_asset(stage: str, previous: str | None) -> Asset:
    """The checkpoint of a stage, which starts from that of the stage `previous`."""

    def config(config: Config, experiment: str | None) -> dict[str, Any]:
        section, settings = config.stage(stage), config.experiments[str(experiment)].settings
        start = {"start_from": section.start_from} if previous else {}
        return {f"stages.{stage}": section.settings | start, f"experiments.{experiment}": settings}

    def doc(config: Config) -> str:
        section = config.stage(stage)
        begins = f"the {section.start_from} weights of stage {previous}" if previous else "fresh weights"
        return (
            f"One training run of {section.steps} steps, from {begins}. Runs in a child process that saves its state "
            "and stops when this run is cancelled or killed."
        )

    return Asset(
        f"{CHECKPOINT}/{stage}",
        group="train",
        doc=doc,
        kinds=frozenset({"pytorch"}),
        partitions="experiment",
        writes=("runs", "metrics"),  # what people ask of runs; the checkpoint itself is files
        code_version=TRAIN_CODE_VERSION,
        upstream=(f"{TRAINING_SET}/{stage}", "vae", *([f"{CHECKPOINT}/{previous}"] if previous else [])),
        slices=(Slice(_weights),),
        reads=("latents", "embeddings"),  # in the versions that the training set pins
        config=config,
        runtime=lambda config, experiment: training_runtime(config, stage, str(experiment)),
        run=checkpoint,
        verify=_verify,
        views=lambda project, experiment, facts: checkpoint_views(project, stage, str(experiment), facts),
        checks=(
            Check("loss_finite", "No NaN, no infinity.", _loss_finite),
            Check(
                "heldout_falls",
                "Warns where the loss on held-out samples is not lower than that of the weights before.",
                _heldout_falls,
                blocking=False,
            ),
        ),
        automatic=lambda config: config.train.automatic,
    )
