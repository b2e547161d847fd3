"""`evaluation/<stage>`: what a checkpoint does on held-out samples, and what it generates, beside the data.

The checkpoint of the stage before, which it started from, is measured on the same samples and noise. Other experiments
are not part of it: they are compared with from what is stored of them, see `comparisons`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.checkpoint import Record, read_record
from model.denoisers import PRESETS
from model.evaluation.evaluate import EVALUATE_CODE_VERSION
from model.recipe import Denoiser
from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.train.facts import Evaluated, Measured
from vid_assets.assets.train.manifest import final_folder, samples_runtime, training_set_spec, vae_spec
from vid_assets.assets.train.names import CHECKPOINT, EVALUATION, TRAINING_SET
from vid_assets.assets.train.views import evaluation_views
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.section import plain
from vid_assets.store.cache import Output
from vid_assets.store.state import AssetState

#: What of an experiment says which denoiser it is, and how it computes; its family is the model's.
_OF_RECIPE = sorted(set(Denoiser.model_fields) - {"family"})


def evaluation(work: Work) -> Output:
    """Evaluate a checkpoint: its held-out loss, and its videos as files."""
    from model.evaluation.evaluate import evaluate

    stage, settings = work.runtime["stage"], plain(work.config["evaluation"])
    final = final_folder(work, stage)
    record = read_record(final)
    folder = work.folder("evaluations", work.experiment, stage, digest([record.weights_hash, settings])[:16])
    before, gone = _before(work, record)
    document = _document(work, settings) | {"checkpoint": str(final), "output": str(folder), "compare": before}
    found = evaluate(document)
    files = _files(folder)
    facts = Evaluated(
        **_measured(found),
        folder=str(folder.relative_to(work.local)),
        checkpoint=record.weights_hash,
        objective=document["recipe"]["objective"],
        measured_on=digest([document["training_set"]["digest"], document["vae"]["weights_hash"], settings["seed"]]),
        heldout_samples=found["heldout_samples"],
        data_motion=found["data_motion"],
        compared_with={other["name"]: Measured(**_measured(other)).shown() for other in found["compare"]},
        notes=[note for note in (found["note"], gone) if note],
        vae_note=work.runtime["note"],
        generated=sum(video["kind"] == "generated" for video in found["videos"]),
        bytes=sum(size for _, size in files),
    )
    version = digest([record.weights_hash, settings, found["heldout_loss"]])
    return Output(version, digest(files), rows=len(files), computed=len(files), facts=facts.shown())


def _document(work: Work, settings: dict[str, Any]) -> dict[str, Any]:
    """What `model` is told beside the checkpoints: what they are measured on, and how."""
    recipe = work.config[f"experiments.{work.experiment}"]
    return {
        "training_set": training_set_spec(work),
        "vae": vae_spec(work),
        "recipe": {**recipe, "family": PRESETS[recipe["model"]].family},
        "runtime": work.runtime["run"],
        "evaluation": settings,
    }


def _before(work: Work, record: Record) -> tuple[list[dict[str, str]], str | None]:
    """The checkpoint that this one started from, to be measured beside it; where it is gone, a note that says so."""
    parent, previous = record.parent, work.runtime["previous"]
    if parent is None or previous is None:
        return [], None
    folder = Path(parent.folder)
    if not (folder / "checkpoint.json").is_file() or read_record(folder).weights_hash != parent.weights_hash:
        return [], f"the checkpoint of {previous} that it started from is gone, so it is not compared with"
    return [{"name": previous, "folder": str(folder)}], None


def _measured(found: dict[str, Any]) -> dict[str, Any]:
    """What was measured of a checkpoint, by field of `Measured`."""
    return {
        "heldout_loss": found["heldout_loss"],
        "by_time": found["heldout_loss_by_time"],
        "by_bucket": found["heldout_loss_by_bucket"],
        "motion": found["motion"],
        "motion_ratio": found["motion_ratio"],
    }


def _files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(file.relative_to(folder)), file.stat().st_size) for file in folder.rglob("*") if file.is_file())


def _verify(work: Work, state: AssetState) -> str | None:
    """Digest of the evaluation's files, None where they are gone."""
    files = _files(work.local / Evaluated.read(state.facts).folder)
    return digest(files) if files else None


def evaluation_asset(stage: str) -> Asset:
    """The evaluation of a stage's checkpoint."""

    def config(config: Config, experiment: str | None) -> dict[str, Any]:
        settings = config.experiments[str(experiment)].settings
        model = {key: settings[key] for key in _OF_RECIPE}
        return {"evaluation": config.evaluation, f"experiments.{experiment}": model}

    return Asset(
        f"{EVALUATION}/{stage}",
        group="train",
        doc="Loss on held-out samples, and generated videos beside the data, decoded by the same VAE.",
        kinds=frozenset({"pytorch"}),
        partitions="experiment",
        code_version=EVALUATE_CODE_VERSION,
        upstream=(f"{TRAINING_SET}/{stage}", "vae", f"{CHECKPOINT}/{stage}"),
        reads=("latents", "embeddings"),  # in the versions that the training set pins
        config=config,
        runtime=lambda config, experiment: {
            **samples_runtime(config, stage),
            "note": config.vae.note or "",
            "run": {"device": config.train.device, "threads": config.train.threads},
        },
        run=evaluation,
        verify=_verify,
        views=lambda project, experiment, facts: evaluation_views(project, stage, str(experiment), facts),
        automatic=lambda config: config.train.automatic,
    )
