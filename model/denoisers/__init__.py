"""Denoisers: how one is built, loaded and called. A module for each family; `model.presets` has their sizes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from model.denoisers.base import Conditions, Dims, Family, config_of
from model.denoisers.cogvideox import CogVideoX
from model.denoisers.hunyuan_video import HunyuanVideo
from model.denoisers.ltx_video import LtxVideo
from model.denoisers.svd import Svd
from model.denoisers.wan import Wan
from model.presets import IMAGE_CONDITIONING, preset
from model.weights import WeightsError, read_json, weight_files

if TYPE_CHECKING:
    from model.data import Batch

__all__ = ["Conditions", "Dims", "Family", "build", "conditions", "config_of", "family", "load", "pretrained"]

_FAMILIES: dict[str, Family] = {kind.name: kind for kind in (Svd(), CogVideoX(), HunyuanVideo(), Wan(), LtxVideo())}


def family(name: str) -> Family:
    """The family called `name`; a `ValueError` names the known ones."""
    if name not in _FAMILIES:
        raise ValueError(f"{name!r} is no family of denoisers; known are {', '.join(sorted(_FAMILIES))}")
    return _FAMILIES[name]


def build(preset_name: str, seed: int, image_conditioning: str | None = None) -> nn.Module:
    """An untrained denoiser, on the CPU, in float32, in training mode; equal weights for an equal seed.

    Args:
        preset_name: a key of `model.presets.PRESETS`.
        seed: of the weights.
        image_conditioning: `first_frame` makes input channels for it where the family has them there; None: as the
            preset says.
    """
    chosen = preset(preset_name)
    kind = family(chosen.family)
    architecture = dict(chosen.architecture)
    conditioning = chosen.image_conditioning if image_conditioning is None else image_conditioning
    if conditioning not in IMAGE_CONDITIONING:
        raise ValueError(f"{conditioning!r} is no image conditioning; known are {', '.join(IMAGE_CONDITIONING)}")
    if conditioning == "first_frame":
        architecture = kind.with_first_frame(architecture)
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
        raise WeightsError(f"{folder}: {str(error).strip().splitlines()[0].split('. ')[0]}") from error
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
    found = {key: config_of(model)[key] for key in wanted.keys() - _FREE}
    differ = [
        f"{key} is {found[key]}, not {wanted[key]}" for key in sorted(found) if not _equal(found[key], wanted[key])
    ]
    if differ:
        raise WeightsError(f"{folder}: not of the preset {preset_name}: {'; '.join(differ)}")
    if (chosen.image_conditioning if image_conditioning is None else image_conditioning) == "first_frame":
        kind.widen(model)
    return model


#: What may differ from a preset: `Family.check` looks at the input channels, the rest is remembered and not used.
_FREE = {"in_channels", "image_condition_type", "guidance_embeds", "sample_size", "num_frames"}


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
    guidance: float | None = None,
) -> Conditions:
    """The conditions of a batch, on `device`.

    Args:
        batch: as it was read.
        preset_name: of the model that reads them.
        device: where they go.
        data: the normalised latents (B, C, f, h, w) of the batch; needed for first frames other than svd's.
        image_conditioning: with `first_frame`, the first latent frame of each video is given. A still is never given:
            nothing would be left to predict.
        guidance: see `Conditions`.
    """
    from model.vae import conditioning_latent

    chosen, first = preset(preset_name), None
    if image_conditioning == "first_frame" and batch.latents.shape[2] > 1:
        if chosen.family == "svd":
            first = conditioning_latent(batch.latents.to(device), "svd")[:, :, 0]
        elif data is None:
            raise ValueError("first frames are taken from `data`, the normalised latents, which was not given")
        else:
            first = data[:, :, 0].to(device)

    def moved(states: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
        return [None if state is None else state.to(device, non_blocking=True) for state in states]

    return Conditions(
        moved(batch.texts),
        moved(batch.pooled),
        moved(batch.image_states),
        [sample.fps for sample in batch.samples],
        first,
        guidance,
        chosen.text_tokens,
    )


def _class(kind: Family) -> Any:
    import diffusers

    return getattr(diffusers, kind.class_name)
