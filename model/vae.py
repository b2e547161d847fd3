"""The VAE backend: frames to latents and back, and the one place where a latent is sampled and normalised.

torch and diffusers are imported inside the functions, so that the constants can be read for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.latent_space import (
    FAMILIES,
    VAE_CODE_VERSION,
    LatentSpace,
    encode_settings,
    latent_space,
    pixel_bytes,
)
from model.vae_folder import Normalisation, folder_space, normalisation, space_of_config
from model.weights import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = [
    "FAMILIES",
    "VAE_CODE_VERSION",
    "LatentSpace",
    "Normalisation",
    "conditioning_latent",
    "decode",
    "encode",
    "encode_settings",
    "folder_space",
    "latent_space",
    "load_vae",
    "normalisation",
    "pixel_bytes",
    "sample_and_normalise",
]

#: Frames that a VAE without a time axis encodes at once: memory, not latents.
_FRAMES_AT_ONCE = 8
#: Latent frames that SVD's temporal decoder sees together, as in diffusers' `decode_latents`.
_SVD_DECODE_FRAMES = 14


def load_vae(
    folder: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    tiling: bool = False,
    family: str = "hunyuan_video",
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Load the VAE in `folder`, in eval mode and without gradients, with the settings of `encode_settings`.

    Args:
        folder: holds `config.json` and the weights.
        dtype: `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.
        tiling: spatial tiles for large frames: less memory, other latents.
        family: a key of `FAMILIES`.
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
    space = _space(vae, family)
    channels, *size = space.latent_shape(*frames.shape[1:4])
    # float32 is to mean float32 on a GPU too, where cuDNN would take TF32, with its 10 bits of mantissa
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        levels = torch.from_numpy(np.ascontiguousarray(frames)).to(vae.device)
        if space.whole_clips:
            moments = _moments(vae, levels.permute(0, 4, 1, 2, 3))
        else:
            pieces = levels.flatten(0, 1).permute(0, 3, 1, 2).split(_FRAMES_AT_ONCE)
            moments = torch.cat([_moments(vae, piece) for piece in pieces])
            moments = moments.unflatten(0, frames.shape[:2]).transpose(1, 2)
        result: np.ndarray = moments.contiguous().numpy()
    expected = (len(frames), 2 * channels, *size)
    if result.shape != expected:
        raise ValueError(f"the VAE gave {result.shape}, not the {expected} of {family}")
    return result


def _moments(vae: Any, levels: torch.Tensor) -> torch.Tensor:
    posterior = vae.encode((levels.float() / 127.5 - 1.0).to(vae.dtype)).latent_dist
    moments: torch.Tensor = posterior.parameters.float().cpu()
    return moments


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

    mean, logvar = _parts(latent, how.channels)
    if logvar is not None and generator is not None:
        noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
        mean = mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise
    return how.apply(mean)


def conditioning_latent(latent: torch.Tensor, family: str) -> torch.Tensor:
    """What SVD's denoiser is given of its first frame: the mean of the first latent frame, not scaled.

    As in diffusers' `StableVideoDiffusionPipeline`, with a noise augmentation of 0.

    Args:
        latent: (..., 2C, f, h, w) moments or (..., C, f, h, w) mean, as stored.
        family: `svd`; other families are given no unscaled latent.

    Returns:
        float32 (..., C, 1, h, w).
    """
    if family != "svd":
        raise ValueError(f"only svd is conditioned on an unscaled latent, not {family}")
    return _parts(latent, latent_space(family).channels)[0][..., :1, :, :]


def _parts(latent: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor | None]:
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


def decode(vae: Any, latents: torch.Tensor, how: Normalisation, family: str = "hunyuan_video") -> np.ndarray:
    """Pixels of normalised latents (B, C, f, h, w): uint8 RGB (B, F, H, W, 3), of as many frames as were encoded."""
    import torch

    space = _space(vae, family)
    if latents.ndim != 5 or latents.shape[1] != space.channels:
        raise ValueError(f"latents must be (B, {space.channels}, f, h, w), got {tuple(latents.shape)}")
    with torch.inference_mode(), _same_noise(vae.device):
        z = how.invert(latents.float()).to(vae.device, vae.dtype)
        pixels = _pixels(vae, z, space).float()
        if not torch.isfinite(pixels).all():
            raise ValueError("the VAE decoded to values that are not finite")
        levels = ((pixels.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


def _pixels(vae: Any, z: torch.Tensor, space: LatentSpace) -> torch.Tensor:
    """(B, 3, F, H, W) of latents (B, C, f, h, w) as the VAE takes them, with the arguments of each class."""
    import torch

    if space.family == "ltx_video" and vae.config.timestep_conditioning:
        # decoded as clean latents: no noise is mixed in, as with the pipelines' default decode_timestep
        return vae.decode(z, torch.zeros(len(z), device=z.device, dtype=z.dtype)).sample
    if space.whole_clips:
        return vae.decode(z).sample
    together = _SVD_DECODE_FRAMES if space.family == "svd" else 1
    clips = []
    for clip in z.transpose(1, 2):  # (f, C, h, w)
        pieces = clip.split(together)
        extra = [{"num_frames": len(piece)} if space.family == "svd" else {} for piece in pieces]
        frames = [vae.decode(piece, **more).sample for piece, more in zip(pieces, extra, strict=True)]
        clips.append(torch.cat(frames))
    return torch.stack(clips).transpose(1, 2)


@contextmanager
def _same_noise(device: torch.device) -> Iterator[None]:
    """Some decoders of LTX-Video inject noise: the same each time, and the caller's generators stay as they were."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _space(vae: Any, family: str) -> LatentSpace:
    name, expected = type(vae).__name__, latent_space(family).vae_class
    if name != expected:
        raise ValueError(f"{name} is no VAE of the family {family}, which has {expected}")
    return space_of_config(vae.config, family, name)
