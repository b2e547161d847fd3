"""The model that a run starts with: its weights, its adapters, what it recomputes, and whether it fits the data."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from model import denoisers
from model.data.training_set import TrainingSet
from model.denoisers import lora, models
from model.errors import ModelError
from model.manifest import Manifest
from model.recipe import Weights
from model.weights import PARTS, checkpoint_hash, weights_hash


class StartError(ModelError):
    """The weights to start from are not those that the manifest names."""


def initial_model(manifest: Manifest) -> nn.Module:
    """The denoiser before the first step, on the CPU, in float32: of the parent, pretrained, or seeded.

    With `recipe.lora` its weights are frozen and adapters are added.

    Raises:
        StartError: the folder to start from holds other weights than the manifest expects.
    """
    recipe, parent = manifest.recipe, manifest.parent
    if parent is not None:
        _expect(parent, checkpoint_hash(parent.folder), "the checkpoint to start from")
        model = models.load(Path(parent.folder) / PARTS[parent.weights], recipe.family)
    elif recipe.weights is not None:
        _expect(recipe.weights, weights_hash(recipe.weights.folder), "the pretrained weights")
        model = models.pretrained(recipe.weights.folder, recipe.model, recipe.image_conditioning)
    else:
        model = models.build(recipe.model, recipe.seed, recipe.image_conditioning)
    if recipe.lora is not None:
        lora.add(model, recipe.lora, recipe.seed)
    return model


def check_fit(manifest: Manifest, model: nn.Module, data: TrainingSet, channels: int) -> None:
    """Refuse data that the model cannot read; the message names all that does not fit."""
    recipe = manifest.recipe
    denoisers.family(recipe.family).check(model, channels, data.dims, recipe.first_frame)


def _expect(source: Weights, found: str, what: str) -> None:
    if found != source.weights_hash:
        raise StartError(
            f"{what}, {source.folder}, has the weights hash {found[:12]}..., but the manifest expects "
            f"{source.weights_hash[:12]}...: it was changed or replaced"
        )
