"""HunyuanVideo's VAE: `AutoencoderKLHunyuanVideo`, 4x8x8 with 16 channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.vaes.base import SWITCHES, TILES_256, VaeFamily
from model.vaes.space import LatentSpace


class HunyuanVideo(VaeFamily):
    """A clip of more than `tile_sample_min_num_frames` frames is encoded in pieces of time that overlap and blend."""

    spaces = (
        LatentSpace(
            "hunyuan_video",
            "AutoencoderKLHunyuanVideo",
            temporal=4,
            spatial=8,
            channels=16,
            image_is_first_latent=False,
            frame_step=4,
            patch=2,
        ),
    )
    settings = {
        **SWITCHES,
        **TILES_256,
        "use_framewise_encoding": True,
        "use_framewise_decoding": True,
        "tile_sample_min_num_frames": 16,
        "tile_sample_stride_num_frames": 12,
    }
    scaling_factor = 0.476986

    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        usual = self.spaces[0]
        temporal, spatial = config.get("temporal_compression_ratio"), config.get("spatial_compression_ratio")
        return temporal or usual.temporal, spatial or usual.spatial, config.get("latent_channels", usual.channels)
