"""Small VAEs of every family: the real classes with few channels and random weights, each saved to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.vaes import latent_space

_BLOCKS = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 2}
_PLANE = {
    **_BLOCKS,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_WAN = {"base_dim": 4, "num_res_blocks": 1}
_WAN_22 = {
    "z_dim": 48,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "is_residual": True,
    "latents_mean": [0.25] * 48,
    "latents_std": [2.0] * 48,
}
_LTX = {
    "block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8,) * 4,
    "layers_per_block": (1,) * 5,
    "decoder_layers_per_block": (1,) * 5,
}
_LTX_091 = {
    "block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1,) * 5,
    "decoder_layers_per_block": (1,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (True, True, True, False),
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
    "timestep_conditioning": True,
}
_LTX_095 = {
    **_LTX_091,
    "block_out_channels": (8, 16, 32, 64, 64),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
#: Name of a checkpoint -> its family, and the class's arguments. All else is as in the published checkpoints.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "hunyuan_video": ("hunyuan_video", _BLOCKS),
    "cogvideox-5b": ("cogvideox", {**_BLOCKS, "scaling_factor": 0.7}),
    "wan-2.1": ("wan", _WAN),
    "wan-2.2": ("wan", {**_WAN, **_WAN_22}),
    "ltx_video": ("ltx_video", _LTX),
    "ltx_video-0.9.1": ("ltx_video", _LTX_091),
    "ltx_video-0.9.5": ("ltx_video", _LTX_095),
    "svd": ("svd", {"block_out_channels": (32,) * 4, "down_block_types": ("DownEncoderBlock2D",) * 4}),
    "image_kl": ("image_kl", _PLANE),
    "image_kl-flux": (
        "image_kl",
        {**_PLANE, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False},
    ),
}


def save_small_vae(folder: Path, name: str) -> Path:
    """Save a VAE of random weights, with LTX-Video's statistics and noise as no default has them; gives its folder."""
    import diffusers
    import torch

    family, arguments = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = getattr(diffusers, latent_space(family).vae_class)(**arguments)
    if family == "ltx_video":
        vae.latents_mean += torch.linspace(-1, 1, 128)
        vae.latents_std *= 4.0
        for parameter in (value for name, value in vae.named_parameters() if "per_channel_scale" in name):
            torch.nn.init.constant_(parameter, 0.5)  # trained away from 0, so that noise is injected
    vae.save_pretrained(str(folder / name))
    return folder / name
