"""Low-rank adapters (Hu et al., 2021, arXiv:2106.09685) of a denoiser, by peft: added, saved, merged.

Needs the extra `lora`. The adapters are injected in place: the model keeps its class, and its other weights are frozen.
Saved, they are what the `load_lora_weights` of a diffusers pipeline reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from model.errors import ModelError
from model.recipe import Lora

#: Layers that are adapted where none are named: the projections of every attention, in the names of all families.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_KINDS = (nn.Linear, nn.Conv2d, nn.Conv3d)
#: Names that diffusers looks for.
FILE, _METADATA = "pytorch_lora_weights.safetensors", "lora_adapter_metadata"


class LoraError(ModelError):
    """Adapters cannot be added to a model."""


def add(model: nn.Module, settings: Lora, seed: int) -> int:
    """Add adapters, which change nothing yet, and freeze all other weights; equal adapters for an equal seed.

    Args:
        model: from `model.denoisers`; changed in place.
        settings: of a recipe. The adapters are scaled by alpha / rank; targets are ends of the names of linear or
            convolution layers, None for `ATTENTION`; dropout comes before the adapters, in training.
        seed: of the adapters' first halves. The second halves are zeros.

    Returns:
        How many layers were adapted.

    Raises:
        LoraError: peft is not installed, the model has adapters, or a target is the name of no layer.
    """
    peft = _peft()
    if adapted(model):
        raise LoraError("this model has adapters already; merge them first")
    targets = list(settings.targets or ATTENTION)
    for target in targets:
        found = [part for name, part in model.named_modules() if name == target or name.endswith(f".{target}")]
        if not found or not all(isinstance(part, _KINDS) for part in found):
            raise LoraError(
                f"lora.targets: {target!r} does not name linear or convolution layers of this model alone; it has "
                f"{', '.join(_layers(model))}"
            )
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets,
        lora_dropout=settings.dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model)
    return len(adapted(model))


def _layers(model: nn.Module) -> list[str]:
    """The last parts of the names of all layers that can be adapted, with the part before where that is a number."""
    names = [name.rsplit(".", 2) for name, part in model.named_modules() if isinstance(part, _KINDS)]
    return sorted({".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1] for parts in names})


def adapted(model: nn.Module) -> list[str]:
    """The names of the layers that have adapters; none without peft."""
    return [name for name, part in model.named_modules() if hasattr(part, "lora_A") and hasattr(part, "base_layer")]


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of the adapters by name; those of the model itself are not among them."""
    return dict(_peft().get_peft_model_state_dict(model))


def save(model: Any, folder: str | Path, prefix: str = "transformer") -> Path:
    """Write the adapters as one safetensors file, with their settings; `prefix` is the pipeline's name of the model."""
    config = model.peft_config["default"]
    settings = {
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
        "lora_dropout": config.lora_dropout,
    }
    metadata = {
        "format": "pt",
        _METADATA: json.dumps({f"{prefix}.{key}": value for key, value in settings.items()}, sort_keys=True),
    }
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{prefix}.{name}": tensor.detach().cpu().contiguous() for name, tensor in state(model).items()}
    save_file(tensors, path, metadata)
    return path


def merge(model: nn.Module) -> None:
    """Add the adapters to the weights that they adapt and take them away: the same model, without peft, trainable."""
    for name in adapted(model):
        layer: Any = model.get_submodule(name)
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    model.requires_grad_(True)


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise LoraError("adapters need the package peft: install vid_assets[lora]") from None
    return peft
