"""What a folder with a VAE says of itself: which variant of its family it is, and how its latents are normalised.

Read from `config.json`, and for LTX-Video from two tensors among the weights; the VAE itself is not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.latent_space import FAMILIES, LatentSpace, latent_space
from model.weights import WeightsError, read_json, weight_files

if TYPE_CHECKING:
    import torch

# What a class of diffusers takes for a key that an old `config.json` does not have.
_SCALING = {"hunyuan_video": 0.476986, "cogvideox": 1.15258426, "ltx_video": 1.0, "svd": 0.18215, "image_kl": 0.18215}


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

    @classmethod
    def read(cls, numbers: Mapping[str, Any]) -> Normalisation:
        """The normalisation that `as_dict` wrote."""
        return cls(tuple(numbers["shift"]), tuple(numbers["scale"]))

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


def folder_space(folder: str | Path, family: str) -> LatentSpace:
    """The variant of `family` that the VAE in `folder` is.

    Raises:
        WeightsError: another class, or channels and ratios that no variant has; the message says which.
    """
    path = Path(folder) / "config.json"
    config = read_json(path)
    space = latent_space(family)
    if config.get("_class_name") != space.vae_class:
        raise WeightsError(
            f"{path}: no VAE of the family {family}: _class_name is {config.get('_class_name')!r}, "
            f"not {space.vae_class!r}"
        )
    return space_of_config(config, family, str(path))


def space_of_config(config: Mapping[str, Any], family: str, where: str) -> LatentSpace:
    """The variant of `family` whose channels and ratios `config`, a VAE's configuration, has."""
    usual = latent_space(family)
    try:
        temporal, spatial, channels = _geometry(config, usual)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{where}: no configuration of a {family} VAE: {error!r}") from None
    for space in FAMILIES[family]:
        if (space.temporal, space.spatial, space.channels) == (temporal, spatial, channels):
            return space
    known = " or ".join(_words(space) for space in FAMILIES[family])
    found = _words(replace(usual, temporal=temporal, spatial=spatial, channels=channels))
    raise WeightsError(f"{where}: no VAE of the family {family}: it is {found}, not {known}")


def normalisation(folder: str | Path, family: str) -> Normalisation:
    """How latents of the VAE in `folder` are normalised after sampling.

    HunyuanVideo, CogVideoX and SVD: z * scaling_factor. Wan: (z - mean) / std, from the configuration. LTX-Video:
    (z - mean) * scaling_factor / std, with mean and std stored among the weights. `AutoencoderKL`: (z - shift_factor) *
    scaling_factor, or with `latents_mean` and `latents_std`, as LTX. As diffusers' pipelines of each family do.

    Raises:
        WeightsError: not a VAE of `family`, or the numbers are missing.
    """
    folder = Path(folder)
    space, config = folder_space(folder, family), read_json(folder / "config.json")
    scaling: float = config.get("scaling_factor", _SCALING.get(family, 1.0))
    shift: list[float] | None
    std: list[float] | None
    if family == "ltx_video":
        shift, std = _tensors(folder, "latents_mean", "latents_std")
    elif family == "wan" or (family == "image_kl" and config.get("latents_mean") and config.get("latents_std")):
        shift, std = config.get("latents_mean"), config.get("latents_std")
    else:
        offset = config.get("shift_factor") if family == "image_kl" else None
        shift, std = [offset or 0.0] * space.channels, [1.0] * space.channels
    if not shift or not std or not len(shift) == len(std) == space.channels or 0 in std or not scaling:
        raise WeightsError(f"{folder}: latents_mean and latents_std are not {space.channels} numbers each")
    return Normalisation(tuple(map(float, shift)), tuple(scaling / value for value in std))


def _geometry(config: Mapping[str, Any], usual: LatentSpace) -> tuple[int, int, int]:
    """(temporal, spatial, channels) of a configuration; a key that an old file does not have counts as usual."""
    channels = config.get("latent_channels", usual.channels)
    if usual.family == "hunyuan_video":
        temporal, spatial = config.get("temporal_compression_ratio"), config.get("spatial_compression_ratio")
        return temporal or usual.temporal, spatial or usual.spatial, channels
    if usual.family == "wan":
        temporal, spatial = config.get("scale_factor_temporal"), config.get("scale_factor_spatial")
        return temporal or usual.temporal, spatial or usual.spatial, config.get("z_dim", usual.channels)
    if usual.family == "ltx_video":
        halvings = 2 ** sum(config["spatio_temporal_scaling"])
        temporal = config.get("temporal_compression_ratio") or config["patch_size_t"] * halvings
        return temporal, config.get("spatial_compression_ratio") or config["patch_size"] * halvings, channels
    temporal = int(config.get("temporal_compression_ratio", usual.temporal))
    return temporal, 2 ** (len(config["block_out_channels"]) - 1), channels


def _words(space: LatentSpace) -> str:
    return f"{space.temporal}x{space.spatial}x{space.spatial} with {space.channels} channels"


def _tensors(folder: Path, *names: str) -> list[list[float]]:
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
