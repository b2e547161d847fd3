"""The VAE backend: frames to latents and back, and the one place where a latent is sampled and normalised.

torch and diffusers are imported inside the functions. How a class is called is told by its family's file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.compute.numerics import pick_device
from model.vaes import encode_settings, folder_space, vae_family
from model.vaes.base import VaeFamily
from model.vaes.space import LatentSpace, Normalisation, mean_and_logvar
from model.weights import WeightsError

if TYPE_CHECKING:
    import torch


def load_vae(
    folder: str | Path,
    family: str,
    dtype: str = "float32",
    device: str = "cpu",
    tiling: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Load the VAE in `folder`, in eval mode and without gradients, with the settings of `encode_settings`.

    Args:
        folder: holds `config.json` and the weights.
        family: a key of `model.vaes.FAMILIES`.
        dtype: `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.
        tiling: spatial tiles for large frames: less memory, other latents.
        settings: other encode settings than diffusers' defaults.

    Raises:
        WeightsError: `folder` holds another kind of VAE than `family`, or this diffusers has other settings.
        ValueError: settings that a VAE of `family` does not have.
    """
    chosen = encode_settings(family, tiling, settings)
    space = folder_space(folder, family)

    import diffusers
    import torch

    vae = getattr(diffusers, space.vae_class).from_pretrained(
        str(folder), torch_dtype=getattr(torch, dtype), local_files_only=True, low_cpu_mem_usage=False
    )
    for name, value in chosen.items():
        if not hasattr(vae, name):
            raise WeightsError(f"this version of diffusers has no VAE setting {name!r}; its latents may differ")
        setattr(vae, name, value)
    return vae.eval().requires_grad_(False).to(pick_device(device))


def encode(vae: Any, frames: np.ndarray, family: str) -> np.ndarray:
    """Posterior moments of a batch of clips or stills of one shape.

    Args:
        vae: from `load_vae`.
        frames: uint8 RGB, (B, F, H, W, 3), of a size that `LatentSpace.latent_shape` takes. A still has F = 1.
        family: that the VAE was loaded as.

    Returns:
        float32 (B, 2C, f, h, w): C channels of the mean, then C of the log variance as the VAE gave it (unclamped,
        not scaled; LTX-Video gives one log variance for all channels). Values may be non-finite where a
        half-precision VAE overflowed: check before storing.

    Raises:
        ValueError: wrong type or shape, or a size that the VAE would floor.
    """
    import torch

    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        found = f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise ValueError(f"frames must be a uint8 array (B, F, H, W, 3), got {found}")
    kind, space = _known(vae, family)
    channels, *size = space.latent_shape(*frames.shape[1:4])
    # float32 is to mean float32 on a GPU too, where cuDNN would take TF32, with its 10 bits of mantissa
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        levels = torch.from_numpy(np.ascontiguousarray(frames)).to(vae.device)
        result: np.ndarray = kind.moments(vae, levels).contiguous().numpy()
    expected = (len(frames), 2 * channels, *size)
    if result.shape != expected:
        raise ValueError(f"the VAE gave {result.shape}, not the {expected} of {family}")
    return result


def sample_and_normalise(
    latent: torch.Tensor,
    how: Normalisation,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The latent that a denoiser sees, from what is stored: z sampled from the posterior, then normalised.

    Args:
        latent: (..., 2C, f, h, w) moments or (..., C, f, h, w) mean.
        how: the normalisation of the VAE that made it.
        generator: draws z = mean + exp(logvar / 2) * n; the log variance is clamped to [-30, 20] first, as in
            diffusers' `DiagonalGaussianDistribution`. None takes the mean.

    Returns:
        float32 (..., C, f, h, w).
    """
    import torch

    mean, logvar = mean_and_logvar(latent, how.channels)
    if logvar is not None and generator is not None:
        noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
        mean = mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise
    return how.apply(mean)


def decode(vae: Any, latents: torch.Tensor, how: Normalisation, family: str) -> np.ndarray:
    """Pixels of normalised latents (B, C, f, h, w): uint8 RGB (B, F, H, W, 3), of as many frames as were encoded."""
    import torch

    kind, space = _known(vae, family)
    if latents.ndim != 5 or latents.shape[1] != space.channels:
        raise ValueError(f"latents must be (B, {space.channels}, f, h, w), got {tuple(latents.shape)}")
    with torch.inference_mode(), _same_noise(vae.device):
        z = how.invert(latents.float()).to(vae.device, vae.dtype)
        pixels = kind.pixels(vae, z).float()
        if not torch.isfinite(pixels).all():
            raise ValueError("the VAE decoded to values that are not finite")
        levels = ((pixels.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


@contextmanager
def _same_noise(device: torch.device) -> Iterator[None]:
    """Some decoders of LTX-Video inject noise: the same each time, and the caller's generators stay as they were."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _known(vae: Any, name: str) -> tuple[VaeFamily, LatentSpace]:
    """The family called `name`, and which of its spaces `vae` has."""
    family = vae_family(name)
    found, expected = type(vae).__name__, family.spaces[0].vae_class
    if found != expected:
        raise ValueError(f"{found} is no VAE of the family {name}, which has {expected}")
    return family, family.variant(vae.config, found)
