"""A finished checkpoint as a folder that diffusers loads: by `DiffusionPipeline.from_pretrained`, or part by part.

Belongs here: how each part gets into the folder; which pipeline a denoiser is part of is told by its family's file.
Parts that are not at hand are left out and named; the pipeline then loads where they are given to it, or None in their
place.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import Record, atomic_folder, read_record, write_json
from model.denoisers import family, preset
from model.denoisers.base import Preset
from model.errors import ModelError
from model.objectives import make
from model.recipe import Denoiser
from model.vaes import latent_space
from model.weights import (
    PARTS,
    PREPROCESSING,
    checkpoint_hash,
    image_levels,
    tokenizer_folder,
    weight_files,
    weights_hash,
)

#: Name of a part -> its library and class.
Written = dict[str, tuple[str, str]]


class ExportError(ModelError):
    """A checkpoint cannot be exported; the message says what is wrong."""


@dataclass(frozen=True)
class Parts:
    """Local folders of what a pipeline has beside the denoiser; None where one is not at hand."""

    vae: Path | None = None
    text_encoder: Path | None = None
    pooled_text_encoder: Path | None = None
    image_encoder: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        pipeline: class of diffusers that `model_index.json` names; None: the parts load one by one.
        denoiser: name of the denoiser among the parts.
        parts: name in the folder -> library and class.
        missing: parts of the pipeline that were not at hand.
    """

    folder: Path
    pipeline: str | None
    denoiser: str
    parts: Mapping[str, tuple[str, str]]
    missing: tuple[str, ...]

    @property
    def loading(self) -> str:
        """The Python expression that loads it."""
        if self.pipeline:
            absent = "".join(f", {name}=None" for name in self.missing)
            return f'diffusers.DiffusionPipeline.from_pretrained("{self.folder}"{absent})'
        kind = self.parts[self.denoiser][1]
        return f'diffusers.{kind}.from_pretrained("{self.folder}", subfolder="{self.denoiser}")'


def export(
    checkpoint: str | Path,
    output: str | Path,
    parts: Parts | None = None,
    *,
    weights: str = "ema",
    dtype: str = "float32",
) -> Exported:
    """Write a finished checkpoint as the folder `output`, with a README.md that says what made it.

    Args:
        checkpoint: holds `checkpoint.json`, `ema/` and `denoiser/`.
        output: a new folder; it is whole or not there.
        parts: where the other parts of the pipeline are copied from.
        weights: `ema`, the average, or `raw`.
        dtype: of the denoiser: `float32`, `bfloat16` or `float16`. The other parts stay as they are.

    Raises:
        ExportError: no whole checkpoint, changed weights, or another VAE than its latents were made with.
        CheckpointError: `output` exists.
    """
    source, parts = Path(checkpoint), parts or Parts()
    if weights not in PARTS:
        raise ExportError(f"{weights!r} are no weights of a checkpoint; known are {', '.join(PARTS)}")
    record = _record(source, parts)
    recipe = record.denoiser()
    chosen = preset(recipe.model)
    pipeline = _pipeline(chosen, recipe)
    with atomic_folder(output) as folder:
        written = _denoiser(folder, source / PARTS[weights], chosen, dtype)
        written |= _scheduler(folder, chosen, recipe)
        written |= _others(folder, chosen, parts)
        missing = tuple(part for part in family(chosen.family).components if part not in written) if pipeline else ()
        result = Exported(Path(output), pipeline, family(chosen.family).part, written, missing)
        if pipeline:
            entries: dict[str, Any] = {name: list(kind) for name, kind in sorted(written.items())}
            write_json(folder / "model_index.json", {"_class_name": pipeline, **entries})
        shutil.copyfile(source / "checkpoint.json", folder / "checkpoint.json")
        (folder / "README.md").write_text(_readme(record, recipe, result, weights), encoding="utf-8")
    return result


def _record(source: Path, parts: Parts) -> Record:
    """`checkpoint.json`, of which weights and VAE are what it says."""
    if not (source / "checkpoint.json").is_file():
        raise ExportError(f"{source}: holds no checkpoint.json; give the folder of a finished checkpoint")
    record = read_record(source)
    if checkpoint_hash(source) != record.weights_hash:
        raise ExportError(f"{source}: its weights are not those that its checkpoint.json names")
    if parts.vae and weights_hash(parts.vae) != record.vae_weights_hash:
        raise ExportError(f"{parts.vae}: not the VAE that the latents were made with; its weights hash differs")
    return record


def _pipeline(chosen: Preset, recipe: Denoiser) -> str | None:
    kind = family(chosen.family)
    if latent_space(chosen.latent_family).vae_class != latent_space(kind.latents).vae_class:
        return None  # the family's pipeline decodes with the family's VAE
    if recipe.objective.needs_positions and not kind.tells_positions:
        return None
    if not make(recipe.objective).scheduler_takes_output:
        return None
    return kind.pipelines[recipe.first_frame]


def _denoiser(folder: Path, source: Path, chosen: Preset, dtype: str) -> Written:
    import torch

    from model.denoisers.models import load

    model: Any = load(source, chosen.family, dtype=getattr(torch, dtype))
    name = family(chosen.family).part
    model.save_pretrained(str(folder / name))
    return {name: ("diffusers", type(model).__name__)}


def _scheduler(folder: Path, chosen: Preset, recipe: Denoiser) -> Written:
    objective = make(recipe.objective)
    if not objective.scheduler_takes_output:
        return {}  # it would sample something else
    scheduler = family(chosen.family).scheduler(objective)
    scheduler.save_pretrained(str(folder / "scheduler"))
    return {"scheduler": ("diffusers", type(scheduler).__name__)}


def _others(folder: Path, chosen: Preset, parts: Parts) -> Written:
    """Copies of the parts that are at hand, as they are."""
    from model.encoders.text import FAMILIES as TEXT_FAMILIES

    written: Written = {}
    components = family(chosen.family).components
    if parts.vae:
        _copy_weights(parts.vae, folder / "vae")
        written["vae"] = ("diffusers", latent_space(chosen.latent_family).vae_class)
    if parts.text_encoder and chosen.text_family:
        written |= _text(folder, parts.text_encoder, TEXT_FAMILIES[chosen.text_family][0], "")
    if parts.pooled_text_encoder and "text_encoder_2" in components:
        written |= _text(folder, parts.pooled_text_encoder, TEXT_FAMILIES["clip"][0], "_2")
    if parts.image_encoder and "image_encoder" in components:
        _copy_weights(parts.image_encoder, folder / "image_encoder")
        written["image_encoder"] = ("transformers", "CLIPVisionModelWithProjection")
        written["feature_extractor"] = _preprocessing(folder, parts.image_encoder)
    return written


def _text(folder: Path, source: Path, kind: str, number: str) -> Written:
    from transformers import AutoTokenizer

    _copy_weights(source, folder / f"text_encoder{number}")
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder(source)), local_files_only=True)
    tokenizer.save_pretrained(str(folder / f"tokenizer{number}"))
    return {
        f"text_encoder{number}": ("transformers", kind),
        f"tokenizer{number}": ("transformers", type(tokenizer).__name__),
    }


def _preprocessing(folder: Path, source: Path) -> tuple[str, str]:
    from transformers import CLIPImageProcessor

    mean, std = image_levels(source)
    processor = CLIPImageProcessor(image_mean=mean, image_std=std)
    processor.save_pretrained(str(folder / PREPROCESSING))
    return "transformers", type(processor).__name__


def _copy_weights(source: Path, target: Path) -> None:
    """Copy `config.json`, the weights that it is loaded with, and their index."""
    target.mkdir()
    files = [source / "config.json", *weight_files(source)]
    for file in files + sorted(source.glob("*.index.json")):
        shutil.copyfile(file, target / file.name)


def _readme(record: Record, recipe: Denoiser, result: Exported, weights: str) -> str:
    objective = recipe.objective.model_dump(exclude_unset=True)
    rows = {
        "experiment, stage": f"{record.experiment}, {record.stage}",
        "model": recipe.model,
        "weights": f"{'EMA' if weights == 'ema' else 'raw'} weights of the checkpoint {record.weights_hash[:16]}",
        "objective": ", ".join(f"{key} {value}" for key, value in objective.items()),
        "first frame": recipe.image_conditioning,
        "training set": record.training_set_digest,
        "VAE": f"weights hash {record.vae_weights_hash[:16]}",
        "steps": str(record.summary["steps"]),
    }
    lines = [f"# {record.experiment} / {record.stage}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows.items()]
    lines += ["", "Loaded by", "", f"    {result.loading}", ""]
    if result.missing:
        lines += [f"Not in this folder: {', '.join(result.missing)}. Give them in place of None.", ""]
    return "\n".join([*lines, "`checkpoint.json` holds the whole recipe.", ""])
