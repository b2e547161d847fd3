"""Wan's VAEs: `AutoencoderKLWan`, 4x8x8 with 16 channels (2.1, 2.2 A14B), or 4x16x16 with 48 (2.2 TI2V 5B)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.vaes.base import SWITCHES, TILES_256, VaeFamily
from model.vaes.space import LatentSpace

_USUAL = LatentSpace(
    "wan", "AutoencoderKLWan", temporal=4, spatial=8, channels=16, image_is_first_latent=True, frame_step=4, patch=2
)


class Wan(VaeFamily):
    """Latents are normalised by (z - mean) / std of each channel, from the configuration."""

    spaces = (_USUAL, replace(_USUAL, spatial=16, channels=48))
    settings = {**SWITCHES, **TILES_256}

    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        usual = self.spaces[0]
        temporal, spatial = config.get("scale_factor_temporal"), config.get("scale_factor_spatial")
        return temporal or usual.temporal, spatial or usual.spatial, config.get("z_dim", usual.channels)

    def shift_and_std(self, folder: Path, config: Mapping[str, Any], channels: int) -> tuple[Any, Any]:
        return config.get("latents_mean"), config.get("latents_std")
