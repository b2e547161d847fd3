"""Facts of each latent space, and the encode settings that change latents. Imports neither torch nor diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Bump by hand when `model.vae` computes other latents from the same frames, weights and settings.
VAE_CODE_VERSION = "1"


@dataclass(frozen=True)
class LatentSpace:
    """What is true of every VAE of a family.

    Attributes:
        family: name of the family in the configuration.
        vae_class: name of the diffusers class, as its `config.json` records it.
        temporal: frames per latent frame, after the first frame, which has its own.
        spatial: pixels per latent pixel, in height and in width.
        channels: channels of one latent.
        scaling: factor that brings a sampled latent to about unit variance; applied after sampling.
        image_is_first_latent: whether the latent of a still equals the first latent of a video that starts with it.
            Where it is not, stills are encoded on their own.
    """

    family: str
    vae_class: str
    temporal: int
    spatial: int
    channels: int
    scaling: float
    image_is_first_latent: bool

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Shape (channels, frames, height, width) of the latent of a clip.

        Raises:
            ValueError: a size that the VAE would floor without a word: frames must be temporal * k + 1, height and
                width multiples of `spatial`.
        """
        if frames < 1 or (frames - 1) % self.temporal:
            low = max(1, frames - (frames - 1) % self.temporal)
            raise ValueError(
                f"{frames} frames: a {self.family} VAE takes {self.temporal}k+1; the neighbours are {low} and "
                f"{low + self.temporal}"
            )
        if height < self.spatial or width < self.spatial or height % self.spatial or width % self.spatial:
            raise ValueError(
                f"{height}x{width} pixels: a {self.family} VAE takes multiples of {self.spatial} in height and width"
            )
        return self.channels, (frames - 1) // self.temporal + 1, height // self.spatial, width // self.spatial


#: Scaling factor of HunyuanVideo: `scaling_factor` in its VAE's config (Kong et al., 2024, arXiv:2412.03603).
FAMILIES: dict[str, LatentSpace] = {
    "hunyuan_video": LatentSpace(
        family="hunyuan_video",
        vae_class="AutoencoderKLHunyuanVideo",
        temporal=4,
        spatial=8,
        channels=16,
        scaling=0.476986,
        image_is_first_latent=False,
    ),
}

# diffusers' own defaults, said here because each of them changes latents: a clip of more than
# `tile_sample_min_num_frames` frames is encoded in overlapping pieces of time that are blended.
_TILES: dict[str, dict[str, Any]] = {
    "hunyuan_video": {
        "use_framewise_encoding": True,
        "use_framewise_decoding": True,
        "tile_sample_min_height": 256,
        "tile_sample_min_width": 256,
        "tile_sample_min_num_frames": 16,
        "tile_sample_stride_height": 192,
        "tile_sample_stride_width": 192,
        "tile_sample_stride_num_frames": 12,
    },
}


def latent_space(family: str) -> LatentSpace:
    """The latent space called `family`; a `ValueError` names the known ones."""
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is no known latent space; known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family]


def encode_settings(family: str, tiling: bool) -> dict[str, Any]:
    """Every attribute of the VAE that changes latents, by its name in diffusers: part of a latent's content key."""
    latent_space(family)
    return {**_TILES[family], "use_tiling": tiling, "use_slicing": False}
