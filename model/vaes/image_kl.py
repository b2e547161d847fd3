"""VAEs of images: `AutoencoderKL`, 1x8x8 with 4 channels (Stable Diffusion 1, 2 and XL) or 16 (3, FLUX.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.vaes.base import SWITCHES, FrameFamily
from model.vaes.space import LatentSpace

_USUAL = LatentSpace(
    "image_kl", "AutoencoderKL", temporal=1, spatial=8, channels=4, image_is_first_latent=True, frame_step=None, patch=2
)


class ImageKl(FrameFamily):
    """Latents are normalised by (z - shift_factor) * scaling_factor, or as LTX-Video's with numbers of the config."""

    spaces = (_USUAL, replace(_USUAL, channels=16))
    settings = {**SWITCHES, "tile_sample_min_size": 512, "tile_overlap_factor": 0.25}
    latent_tiles = {"tile_latent_min_size": ("tile_sample_min_size", "tile_overlap_factor")}
    scaling_factor = 0.18215

    def shift_and_std(self, folder: Path, config: Mapping[str, Any], channels: int) -> tuple[Any, Any]:
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean and std:
            return mean, std
        return [config.get("shift_factor") or 0.0] * channels, [1.0] * channels
