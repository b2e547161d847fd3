"""LTX-Video's VAE: `AutoencoderKLLTXVideo`, 8x32x32 with 128 channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.vaes.base import SWITCHES, VaeFamily
from model.vaes.space import LatentSpace
from model.weights import WeightsError, weight_files

if TYPE_CHECKING:
    import torch


class LtxVideo(VaeFamily):
    """Latents are normalised by (z - mean) * scaling_factor / std, with mean and std stored among the weights."""

    spaces = (
        LatentSpace(
            "ltx_video",
            "AutoencoderKLLTXVideo",
            temporal=8,
            spatial=32,
            channels=128,
            image_is_first_latent=True,
            frame_step=8,
            patch=1,
        ),
    )
    settings = {
        **SWITCHES,
        "use_framewise_encoding": False,
        "use_framewise_decoding": False,
        "num_sample_frames_batch_size": 16,
        "num_latent_frames_batch_size": 2,
        "tile_sample_min_height": 512,
        "tile_sample_min_width": 512,
        "tile_sample_min_num_frames": 16,
        "tile_sample_stride_height": 448,
        "tile_sample_stride_width": 448,
        "tile_sample_stride_num_frames": 8,
    }

    def check(self, settings: Mapping[str, Any]) -> None:
        super().check(settings)
        if settings["use_framewise_encoding"] != settings["use_framewise_decoding"]:
            raise ValueError("diffusers' LTX VAE reads use_framewise_decoding when it encodes too: set both alike")

    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        halvings = 2 ** sum(config["spatio_temporal_scaling"])
        temporal = config.get("temporal_compression_ratio") or config["patch_size_t"] * halvings
        spatial = config.get("spatial_compression_ratio") or config["patch_size"] * halvings
        return temporal, spatial, config.get("latent_channels", self.spaces[0].channels)

    def shift_and_std(self, folder: Path, config: Mapping[str, Any], channels: int) -> tuple[Any, Any]:
        mean, std = _stored(folder, "latents_mean", "latents_std")
        return mean, std

    def pixels(self, vae: Any, z: torch.Tensor) -> torch.Tensor:
        if not vae.config.timestep_conditioning:
            return super().pixels(vae, z)
        # decoded as clean latents: no noise is mixed in, as with the pipelines' default decode_timestep
        decoded: torch.Tensor = vae.decode(z, z.new_zeros(len(z))).sample
        return decoded


def _stored(folder: Path, *names: str) -> list[list[float]]:
    """Small tensors among the weights, by name."""
    from safetensors import safe_open

    found: dict[str, list[float]] = {}
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            raise WeightsError(f"{path}: the normalisation is only read from safetensors; save the weights as such")
        with safe_open(path, framework="pt") as file:  # numpy has no bfloat16, in which some are stored
            stored = set(file.keys())
            found |= {name: file.get_tensor(name).float().tolist() for name in names if name in stored}
    missing = [name for name in names if name not in found]
    if missing:
        raise WeightsError(f"{folder}: the weights hold no {' and no '.join(missing)}")
    return [found[name] for name in names]
