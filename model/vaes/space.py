"""A latent space: its ratios and sizes, what is stored of a latent, and how it is normalised for a denoiser. No torch.

Latents of every family are kept as (C, f, h, w), channels first, also where its denoiser takes frames first (CogVideoX,
SVD) or a row of tokens (LTX-Video).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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
    """

    family: str
    vae_class: str
    temporal: int
    spatial: int
    channels: int
    image_is_first_latent: bool
    frame_step: int | None
    patch: int

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

    @property
    def words(self) -> str:
        """Its ratios and channels, such as `4x8x8 with 16 channels`."""
        return f"{self.temporal}x{self.spatial}x{self.spatial} with {self.channels} channels"

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


@dataclass(frozen=True)
class Normalisation:
    """How a sampled latent z becomes what a denoiser sees, (z - shift) * scale, with one number for each channel."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.shift or len(self.shift) != len(self.scale) or 0 in self.scale:
            raise ValueError("a normalisation has one shift and one scale, not 0, for each channel")

    @property
    def channels(self) -> int:
        """Channels of the latents that it is for."""
        return len(self.shift)

    def as_dict(self) -> dict[str, list[float]]:
        """Plain numbers, for JSON."""
        return {name: list(values) for name, values in asdict(self).items()}

    def apply(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalise sampled latents (..., C, f, h, w)."""
        shift, scale = self._like(latents)
        return (latents - shift) * scale

    def invert(self, latents: torch.Tensor) -> torch.Tensor:
        """The latents (..., C, f, h, w), as the VAE decodes them, of normalised ones."""
        shift, scale = self._like(latents)
        return latents / scale + shift

    def _like(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if latents.ndim < 4 or latents.shape[-4] != self.channels:
            raise ValueError(f"latents must be (..., {self.channels}, f, h, w), got {tuple(latents.shape)}")
        return latents.new_tensor(self.shift).view(-1, 1, 1, 1), latents.new_tensor(self.scale).view(-1, 1, 1, 1)


def mean_and_logvar(latent: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mean and log variance (None where only the mean was stored) of a stored latent, in float32."""
    found = latent.shape[-4] if latent.ndim >= 4 else 0
    if found == 2 * channels:
        mean, logvar = latent.float().chunk(2, dim=-4)
        return mean, logvar
    if found != channels:
        raise ValueError(
            f"latent of shape {tuple(latent.shape)}: this latent space has {channels} channels (mean) or "
            f"{2 * channels} (moments), then frames, height, width"
        )
    return latent.float(), None


def pixel_bytes(frames: int, height: int, width: int) -> int:
    """Bytes of the raw RGB pixels of a clip, 8 bits each: what a latent is compared with."""
    return 3 * frames * height * width
