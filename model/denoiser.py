"""The denoiser: its presets, how one is built, and how it is called. One architecture, in several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file

from model.weights import weight_files

#: Arguments of diffusers' `WanTransformer3DModel`. `tiny-dit` has 1.24 M parameters.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny-dit": {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 64,
        "freq_dim": 128,
        "ffn_dim": 512,
        "num_layers": 4,
        "rope_max_seq_len": 256,
    },
}

# The time embedding of Wan was designed for 1000 discrete steps.
_STEPS = 1000.0


def build(preset: str, seed: int) -> WanTransformer3DModel:
    """An untrained denoiser, on the CPU, in float32; equal weights for an equal seed."""
    if preset not in PRESETS:
        raise ValueError(f"{preset!r} is no model preset; known are {', '.join(sorted(PRESETS))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WanTransformer3DModel(**PRESETS[preset])


def load(folder: str | Path) -> WanTransformer3DModel:
    """A denoiser that `save_pretrained` wrote, on the CPU, in float32.

    Not by `from_pretrained`, which for this class needs the package accelerate.
    """
    model = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(str(folder), local_files_only=True))
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        weights |= load_file(str(file))
    model.load_state_dict(weights)
    return model.float()


def predict(
    model: Any,
    noisy: torch.Tensor,
    times: torch.Tensor,
    texts: Sequence[torch.Tensor | None],
) -> torch.Tensor:
    """The model's output for a batch.

    Args:
        model: from `build` or `load`, or anything that is called like it.
        noisy: (B, C, f, h, w).
        times: (B,), in [0, 1]: 0 is data, 1 is noise.
        texts: encoder states (tokens, dim) for each sample; None is no caption, which is one state of zeros. Shorter
            texts are padded with zeros to the longest of the batch; as in Wan, padding is not masked.

    Returns:
        (B, C, f, h, w).
    """
    return model(
        hidden_states=noisy,
        timestep=times * _STEPS,
        encoder_hidden_states=_pad(texts, model.config.text_dim).to(noisy),
        return_dict=False,
    )[0]


def _pad(texts: Sequence[torch.Tensor | None], dim: int) -> torch.Tensor:
    padded = torch.zeros(len(texts), max([1, *(len(text) for text in texts if text is not None)]), dim)
    for row, text in zip(padded, texts, strict=True):
        if text is not None:
            row[: len(text)] = text
    return padded
