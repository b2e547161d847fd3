"""Denoisers built, loaded and conditioned, by the name of a preset or of a family."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import nn

from model.denoisers import family, preset
from model.denoisers.base import Family, config_of
from model.denoisers.conditions import Conditions
from model.errors import first_line
from model.recipe import ImageConditioning
from model.weights import WeightsError, read_json, weight_files

if TYPE_CHECKING:
    from model.data.training_set import Batch


def build(preset_name: str, seed: int, image_conditioning: str | None = None) -> nn.Module:
    """An untrained denoiser, on the CPU, in float32, in training mode; equal weights for an equal seed.

    Args:
        preset_name: a key of `model.denoisers.PRESETS`.
        seed: of the weights.
        image_conditioning: `first_frame` makes input channels for it where the family has them there; None: as the
            preset says.
    """
    chosen = preset(preset_name)
    kind = family(chosen.family)
    architecture = dict(chosen.architecture)
    conditioning = chosen.image_conditioning if image_conditioning is None else image_conditioning
    if conditioning not in get_args(ImageConditioning):
        known = ", ".join(get_args(ImageConditioning))
        raise ValueError(f"{conditioning!r} is no image conditioning; known are {known}")
    if conditioning == "first_frame":
        architecture = kind.with_first_frame(_defaults(_class(kind)) | architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _class(kind)(**architecture).train()


def load(folder: str | Path, family_name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The denoiser in `folder`, on the CPU, in training mode.

    Args:
        folder: as `save_pretrained` writes it, and as published weights come: one file or shards.
        family_name: of the class that is expected there.
        dtype: of its weights; parts that diffusers keeps in float32 for a family stay so.

    Raises:
        WeightsError: the folder holds no weights, those of another class, or not all of them.
    """
    from diffusers.utils.logging import disable_progress_bar

    kind, folder = family(family_name), Path(folder)
    found = read_json(folder / "config.json").get("_class_name")
    if found != kind.class_name:
        raise WeightsError(f"{folder}: holds a {found}, but the family {family_name} is {kind.class_name}")
    weight_files(folder)  # says in words which are missing
    disable_progress_bar()  # standard error is a log, not a terminal
    try:
        model, report = _class(kind).from_pretrained(
            str(folder), local_files_only=True, torch_dtype=dtype, output_loading_info=True
        )
    except (RuntimeError, ValueError) as error:  # sizes that differ from those of its own config.json
        raise WeightsError(f"{folder}: {first_line(error).split('. ')[0]}") from error
    for what in ("missing_keys", "unexpected_keys"):
        if report[what]:
            names = ", ".join(sorted(report[what])[:3])
            raise WeightsError(f"{folder}: {len(report[what])} {what.replace('_', ' ')}, such as {names}")
    return model.train()


def pretrained(folder: str | Path, preset_name: str, image_conditioning: str | None = None) -> nn.Module:
    """The denoiser in `folder` as the start of a training of a preset, on the CPU, in float32.

    Args:
        folder: see `load`.
        preset_name: whose architecture is expected there; what says nothing of the weights may differ.
        image_conditioning: `first_frame` gives a model without input channels for a first frame such channels, with
            weights of zero, so that it predicts what it did before; None: as the preset says.

    Raises:
        WeightsError: as `load`, or the weights are of another architecture; the message names what differs.
    """
    chosen = preset(preset_name)
    kind, model = family(chosen.family), load(folder, chosen.family)
    wanted = _defaults(_class(kind)) | dict(chosen.architecture)
    found = {key: config_of(model)[key] for key in wanted.keys() - set(kind.free)}
    differ = [
        f"{key} is {found[key]}, not {wanted[key]}" for key in sorted(found) if not _equal(found[key], wanted[key])
    ]
    if differ:
        raise WeightsError(f"{folder}: not of the preset {preset_name}: {'; '.join(differ)}")
    if (chosen.image_conditioning if image_conditioning is None else image_conditioning) == "first_frame":
        kind.widen(model)
    return model


def _defaults(kind: Any) -> dict[str, Any]:
    parameters = inspect.signature(kind.__init__).parameters
    return {name: one.default for name, one in parameters.items() if name != "self"}


def _equal(one: Any, other: Any) -> bool:
    return (list(one) if isinstance(one, tuple) else one) == (list(other) if isinstance(other, tuple) else other)


def conditions(
    batch: Batch,
    preset_name: str,
    device: str | torch.device,
    *,
    data: torch.Tensor | None = None,
    image_conditioning: str = "none",
) -> Conditions:
    """The conditions of a batch, on `device`.

    Args:
        batch: as it was read.
        preset_name: of the model that reads them.
        device: where they go.
        data: the normalised latents (B, C, f, h, w) of the batch; see `Family.first_frame`.
        image_conditioning: with `first_frame`, the first latent frame of each video is given. A still is never given:
            nothing would be left to predict.
    """
    chosen, first = preset(preset_name), None
    if image_conditioning == "first_frame" and batch.latents.shape[2] > 1:
        first = family(chosen.family).first_frame(batch.latents, data).to(device)
    states = {
        kind: [None if one is None else one.to(device, non_blocking=True) for one in several]
        for kind, several in batch.states.items()
    }
    return Conditions(states, [sample.fps for sample in batch.samples], first, text_tokens=chosen.text_tokens)


def _class(kind: Family) -> Any:
    import diffusers

    return getattr(diffusers, kind.class_name)
