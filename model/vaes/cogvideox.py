"""CogVideoX's VAE: `AutoencoderKLCogVideoX`, 4x8x8 with 16 channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.vaes.base import SWITCHES, VaeFamily, by_blocks
from model.vaes.space import LatentSpace


class CogVideoX(VaeFamily):
    """Latent frames are decoded in pairs after an odd first group.

    An even number of them comes back as 4f frames instead of 4f - 3, so that only 8k+1 frames survive a round trip.
    """

    spaces = (
        LatentSpace(
            "cogvideox",
            "AutoencoderKLCogVideoX",
            temporal=4,
            spatial=8,
            channels=16,
            image_is_first_latent=False,
            frame_step=8,
            patch=2,
        ),
    )
    settings = {
        **SWITCHES,
        "num_sample_frames_batch_size": 8,
        "num_latent_frames_batch_size": 2,
        "tile_sample_min_height": 240,
        "tile_sample_min_width": 360,
        "tile_overlap_factor_height": 1 / 6,
        "tile_overlap_factor_width": 1 / 5,
    }
    latent_tiles = {
        "tile_latent_min_height": ("tile_sample_min_height", "tile_overlap_factor_height"),
        "tile_latent_min_width": ("tile_sample_min_width", "tile_overlap_factor_width"),
    }
    scaling_factor = 1.15258426

    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        return by_blocks(config, self.spaces[0])
