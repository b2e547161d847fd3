"""The VAE backend: frames to latents and back, and the one place where a latent is sampled and normalised.

torch and diffusers are imported inside the functions, so that the constants can be read for nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.latent_space import FAMILIES, VAE_CODE_VERSION, LatentSpace, encode_settings, latent_space
from model.weights import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = [
    "FAMILIES",
    "VAE_CODE_VERSION",
    "LatentSpace",
    "decode",
    "encode",
    "encode_settings",
    "latent_space",
    "load_vae",
    "sample_and_normalise",
]


def load_vae(
    folder: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    tiling: bool = False,
    family: str = "hunyuan_video",
) -> Any:
    """Load the VAE in `folder`, in eval mode and without gradients, with the settings of `encode_settings`.

    Args:
        folder: holds `config.json` and the weights.
        dtype: `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.
        tiling: spatial tiles for frames larger than 256 pixels: less memory, other latents.

    Raises:
        WeightsError: `folder` holds another kind of VAE than `family`.
    """
    space = latent_space(family)
    _check_config(Path(folder), space)

    import torch
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    vae = AutoencoderKLHunyuanVideo.from_pretrained(
        str(folder), torch_dtype=getattr(torch, dtype), local_files_only=True, low_cpu_mem_usage=False
    )
    for name, value in encode_settings(family, tiling).items():
        if not hasattr(vae, name):
            raise WeightsError(f"this version of diffusers has no VAE setting {name!r}; its latents may differ")
        setattr(vae, name, value)
    return vae.eval().requires_grad_(False).to(pick_device(device))


def pick_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`; anything else stays. A missing GPU is an error."""
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise RuntimeError(f"device {device!r} was asked for, but torch sees no CUDA device; use auto or cpu")
    return device


def encode(vae: Any, frames: np.ndarray, family: str = "hunyuan_video") -> np.ndarray:
    """Posterior moments of a batch of clips or stills of one shape.

    Args:
        vae: from `load_vae`.
        frames: uint8 RGB, (B, F, H, W, 3), F = 4k+1. A still has F = 1.

    Returns:
        float32 (B, 2C, f, h, w): C channels of the mean, then C of the log variance as the VAE gave it (unclamped,
        not scaled). Values may be non-finite where a half-precision VAE overflowed: check before storing.

    Raises:
        ValueError: wrong type or shape, or a size that the VAE would floor.
    """
    import torch

    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        found = f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise ValueError(f"frames must be a uint8 array (B, F, H, W, 3), got {found}")
    space = latent_space(family)
    shape = space.latent_shape(*frames.shape[1:4])
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(vae.device).permute(0, 4, 1, 2, 3)
        posterior = vae.encode((pixels.float() / 127.5 - 1.0).to(vae.dtype)).latent_dist
        moments = posterior.parameters.float().cpu().contiguous().numpy()
    if moments.shape != (len(frames), 2 * shape[0], *shape[1:]):
        raise ValueError(f"the VAE gave {moments.shape}, not the {(len(frames), 2 * shape[0], *shape[1:])} of {family}")
    return moments


def sample_and_normalise(
    latent: torch.Tensor, family: str = "hunyuan_video", generator: torch.Generator | None = None
) -> torch.Tensor:
    """The latent that a denoiser sees, from what is stored: z * scaling, with z sampled from the posterior.

    Args:
        latent: (..., 2C, f, h, w) moments or (..., C, f, h, w) mean.
        generator: draws z = mean + exp(logvar / 2) * n; the log variance is clamped to [-30, 20] first, as in
            diffusers' `DiagonalGaussianDistribution`. None takes the mean.

    Returns:
        float32 (..., C, f, h, w).
    """
    import torch

    space = latent_space(family)
    channels = latent.shape[-4] if latent.ndim >= 4 else 0
    latent = latent.float()
    if channels == 2 * space.channels:
        mean, logvar = latent.chunk(2, dim=-4)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
            mean = mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise
    elif channels == space.channels:
        mean = latent
    else:
        raise ValueError(
            f"latent of shape {tuple(latent.shape)}: {family} has {space.channels} channels (mean) or "
            f"{2 * space.channels} (moments), then frames, height, width"
        )
    return mean * space.scaling


def decode(vae: Any, latents: torch.Tensor, family: str = "hunyuan_video") -> np.ndarray:
    """Pixels of normalised latents (B, C, f, h, w): uint8 RGB (B, F, H, W, 3), F = 4 (f - 1) + 1."""
    import torch

    space = latent_space(family)
    if latents.ndim != 5 or latents.shape[1] != space.channels:
        raise ValueError(f"latents must be (B, {space.channels}, f, h, w), got {tuple(latents.shape)}")
    with torch.inference_mode():
        pixels = vae.decode((latents / space.scaling).to(vae.device, vae.dtype)).sample.float()
        if not torch.isfinite(pixels).all():
            raise ValueError("the VAE decoded to values that are not finite")
        levels = ((pixels.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


def _check_config(folder: Path, space: LatentSpace) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder}: holds no config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    expected = {
        "_class_name": space.vae_class,
        "latent_channels": space.channels,
        "scaling_factor": space.scaling,
        "spatial_compression_ratio": space.spatial,
        "temporal_compression_ratio": space.temporal,
    }
    found = {key: config.get(key, value) for key, value in expected.items()}
    wrong = [f"{key} is {found[key]!r}, not {value!r}" for key, value in expected.items() if found[key] != value]
    if wrong:
        raise WeightsError(f"{path}: no VAE of the family {space.family}: {'; '.join(wrong)}")
