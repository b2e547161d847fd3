"""Stable Video Diffusion's VAE: `AutoencoderKLTemporalDecoder`, 1x8x8 with 4 channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model.vaes.base import FrameFamily
from model.vaes.space import LatentSpace

if TYPE_CHECKING:
    import torch


class Svd(FrameFamily):
    """Each frame has a latent of its own; the decoder looks along time. Has no settings that change latents."""

    spaces = (
        LatentSpace(
            "svd",
            "AutoencoderKLTemporalDecoder",
            temporal=1,
            spatial=8,
            channels=4,
            image_is_first_latent=True,
            frame_step=1,
            patch=8,
        ),
    )
    scaling_factor = 0.18215
    decoded_at_once = 14  # as in diffusers' `decode_latents`

    def frames(self, vae: Any, z: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = vae.decode(z, num_frames=len(z)).sample
        return decoded
