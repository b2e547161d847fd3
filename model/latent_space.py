"""Facts of each latent space, and the encode settings that change latents. Imports neither torch nor diffusers.

A family is a class of VAE in diffusers; what differs between checkpoints of one family (scaling, a larger ratio) is
read from a checkpoint's folder by `model.vae_folder`. Latents of every family are kept as (C, f, h, w), channels
first, also where its denoiser takes frames first (CogVideoX, SVD) or a row of tokens (LTX-Video).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Bump by hand when `model.vae` computes other latents from the same frames, weights and settings.
VAE_CODE_VERSION = "1"

#: Bytes of one value in each type that is stored; all are little-endian.
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class LatentSpace:
    """What is true of every VAE of a family, or of one of its variants.

    Attributes:
        family: name of the family in the configuration.
        vae_class: name of the diffusers class, as its `config.json` records it.
        temporal: frames per latent frame, after the first frame, which has its own.
        spatial: pixels per latent pixel, in height and in width.
        channels: channels of one latent.
        image_is_first_latent: whether the latent of a still equals the first latent of a video that starts with it.
            Where it is not, stills are encoded on their own.
        frame_step: a clip has frame_step * k + 1 frames; None: the VAE has no time axis, and takes stills alone.
        patch: latent pixels, in height and in width, that the family's denoisers need a multiple of.
        whole_clips: whether the VAE takes (B, 3, F, H, W); else it takes frames, (B * F, 3, H, W).
    """

    family: str
    vae_class: str
    temporal: int
    spatial: int
    channels: int
    image_is_first_latent: bool
    frame_step: int | None
    patch: int
    whole_clips: bool = True

    @property
    def frame_rule(self) -> str:
        """The frame counts that the VAE takes, such as `4k+1`."""
        if self.frame_step is None:
            return "stills only, one frame each"
        return "any number of frames" if self.frame_step == 1 else f"{self.frame_step}k+1 frames"

    @property
    def sides(self) -> int:
        """Height and width in pixels are multiples of this, for the VAE and for the family's denoisers."""
        return self.spatial * self.patch

    def neighbours(self, frames: int) -> tuple[int, ...]:
        """The valid frame counts next to `frames`, or `frames` alone where it is one."""
        if self.frame_step is None or frames < 1:
            return (1,) if self.frame_step in (None, 1) else (1, 1 + self.frame_step)
        low = frames - (frames - 1) % self.frame_step
        return (low,) if low == frames else (low, low + self.frame_step)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Shape (channels, frames, height, width) of the latent of a clip.

        Raises:
            ValueError: a size that the VAE would floor or stretch without a word; the message names the valid
                neighbours.
        """
        valid = self.neighbours(frames)
        if valid != (frames,):
            nearest = "the neighbours are" if len(valid) > 1 else "the neighbour is"
            names = " and ".join(map(str, valid))
            raise ValueError(f"{frames} frames: the VAE of {self.family} takes {self.frame_rule}; {nearest} {names}")
        if height < self.spatial or width < self.spatial or height % self.spatial or width % self.spatial:
            raise ValueError(
                f"{height}x{width} pixels: the VAE of {self.family} takes multiples of {self.spatial} in height and "
                "width"
            )
        return self.channels, (frames - 1) // self.temporal + 1, height // self.spatial, width // self.spatial

    def latent_bytes(self, frames: int, height: int, width: int, posterior: str, dtype: str) -> int:
        """Bytes of the stored latent of a clip, as `posterior` (`moments` or `mean`) in `dtype`."""
        values = math.prod(self.latent_shape(frames, height, width)) * {"moments": 2, "mean": 1}[posterior]
        return values * DTYPE_BYTES[dtype]


def pixel_bytes(frames: int, height: int, width: int) -> int:
    """Bytes of the raw RGB pixels of a clip, 8 bits each: what a latent is compared with."""
    return 3 * frames * height * width


#: The variants of each family, the usual one first. CogVideoX decodes latent frames in pairs after an odd first group:
#: an even number of them comes back as 4f frames instead of 4f - 3, so that only 8k+1 frames survive a round trip.
#: Sources: the classes in diffusers 0.42 and the configurations that were published with the weights.
#: The numbers of each line: temporal, spatial, channels, image_is_first_latent, frame_step, patch.
FAMILIES: dict[str, tuple[LatentSpace, ...]] = {
    "hunyuan_video": (LatentSpace("hunyuan_video", "AutoencoderKLHunyuanVideo", 4, 8, 16, False, 4, 2),),
    "cogvideox": (LatentSpace("cogvideox", "AutoencoderKLCogVideoX", 4, 8, 16, False, 8, 2),),
    "wan": (
        LatentSpace("wan", "AutoencoderKLWan", 4, 8, 16, True, 4, 2),  # 2.1, and 2.2 A14B
        LatentSpace("wan", "AutoencoderKLWan", 4, 16, 48, True, 4, 2),  # 2.2 TI2V 5B
    ),
    "ltx_video": (LatentSpace("ltx_video", "AutoencoderKLLTXVideo", 8, 32, 128, True, 8, 1),),
    "svd": (LatentSpace("svd", "AutoencoderKLTemporalDecoder", 1, 8, 4, True, 1, 8, whole_clips=False),),
    "image_kl": (
        LatentSpace("image_kl", "AutoencoderKL", 1, 8, 4, True, None, 2, whole_clips=False),  # SD 1, 2 and XL
        LatentSpace("image_kl", "AutoencoderKL", 1, 8, 16, True, None, 2, whole_clips=False),  # SD 3, FLUX.1
    ),
}

# diffusers' own defaults, said here because each of them changes latents or what they decode to. HunyuanVideo encodes
# a clip of more than `tile_sample_min_num_frames` frames in overlapping pieces of time that are blended.
_SWITCHES = {"use_tiling": False, "use_slicing": False}
_TILES_256 = {
    "tile_sample_min_height": 256,
    "tile_sample_min_width": 256,
    "tile_sample_stride_height": 192,
    "tile_sample_stride_width": 192,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "hunyuan_video": {
        **_SWITCHES,
        **_TILES_256,
        "use_framewise_encoding": True,
        "use_framewise_decoding": True,
        "tile_sample_min_num_frames": 16,
        "tile_sample_stride_num_frames": 12,
    },
    "cogvideox": {
        **_SWITCHES,
        "num_sample_frames_batch_size": 8,
        "num_latent_frames_batch_size": 2,
        "tile_sample_min_height": 240,
        "tile_sample_min_width": 360,
        "tile_overlap_factor_height": 1 / 6,
        "tile_overlap_factor_width": 1 / 5,
    },
    "wan": {**_SWITCHES, **_TILES_256},
    "ltx_video": {
        **_SWITCHES,
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
    },
    "svd": {},
    "image_kl": {**_SWITCHES, "tile_sample_min_size": 512, "tile_overlap_factor": 0.25},
}
# Settings that follow from another one: the same tile in latent pixels.
_DERIVED = {
    "cogvideox": {
        "tile_latent_min_height": "tile_sample_min_height",
        "tile_latent_min_width": "tile_sample_min_width",
    },
    "image_kl": {"tile_latent_min_size": "tile_sample_min_size"},
}
_OVERLAP = {
    "tile_latent_min_height": "tile_overlap_factor_height",
    "tile_latent_min_width": "tile_overlap_factor_width",
    "tile_latent_min_size": "tile_overlap_factor",
}


def latent_space(family: str) -> LatentSpace:
    """The usual latent space of `family`; a `ValueError` names the known ones."""
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is no known latent space; known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family][0]


def encode_settings(family: str, tiling: bool, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every attribute of the VAE that changes latents, by its name in diffusers: part of a latent's content key.

    Args:
        family: a key of `FAMILIES`.
        tiling: spatial tiles for large frames: less memory, other latents.
        changes: other values than diffusers' defaults, such as a smaller tile.

    Raises:
        ValueError: a setting that the family's VAE does not have, or a value that it would misread.
    """
    space, settings = latent_space(family), dict(_SETTINGS[family])
    if tiling and "use_tiling" not in settings:
        raise ValueError(f"the VAE of {family} cannot encode in tiles")
    if "use_tiling" in settings:
        settings["use_tiling"] = tiling
    for name, value in (changes or {}).items():
        if name == "use_tiling" or name not in settings:
            known = ", ".join(sorted(settings.keys() - {"use_tiling"})) or "none at all"
            raise ValueError(f"the VAE of {family} has no setting {name!r} to change; it has {known}")
        kind = type(settings[name])
        if type(value) is not kind:
            raise ValueError(f"{name} is {value!r}; it takes a value of type {kind.__name__}")
        settings[name] = value
    _check_settings(space, settings)
    for name, origin in _DERIVED.get(family, {}).items():
        latents, overlap = settings[origin] // space.spatial, settings[_OVERLAP[name]]
        # diffusers cuts the pixels and blends the latents, each rounded down by itself
        if int(settings[origin] * (1 - overlap)) != space.spatial * (latents - int(latents * overlap)):
            raise ValueError(f"{origin} {settings[origin]} with an overlap of {overlap:g}: tiles would not meet")
        settings[name] = latents
    return settings


def _check_settings(space: LatentSpace, settings: Mapping[str, Any]) -> None:
    """Refuse tiles that do not lie on latent pixels, and what diffusers would ignore."""
    largest = max(variant.spatial for variant in FAMILIES[space.family])
    for name, value in settings.items():
        if name.startswith("tile_sample"):
            ratio = space.temporal if name.endswith("num_frames") else largest
            if value < ratio or value % ratio:
                raise ValueError(f"{name} is {value}; the VAE of {space.family} takes multiples of {ratio} there")
        if name.startswith("tile_overlap") and not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it is a share, from 0 to below 1")
        if name.startswith("num_") and value < 1:
            raise ValueError(f"{name} is {value}; it is at least 1")
        if "_stride_" in name and value > settings[name.replace("_stride_", "_min_")]:
            raise ValueError(f"{name} is {value}, more than a tile: what lies between two tiles would be left out")
    if space.family == "ltx_video" and settings["use_framewise_encoding"] != settings["use_framewise_decoding"]:
        raise ValueError("diffusers' LTX VAE reads use_framewise_decoding when it encodes too: set both alike")
