"""VAEs: a file for each family with all that is known of it; here is which there are, and how they are asked by name.

Imports neither torch nor diffusers; `backend` loads, encodes and decodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.vaes import cogvideox, hunyuan_video, image_kl, ltx_video, svd, wan
from model.vaes.base import VaeFamily
from model.vaes.space import LatentSpace, Normalisation

#: Every family by its name in the configuration.
FAMILIES: dict[str, VaeFamily] = {
    family.name: family
    for family in (
        hunyuan_video.HunyuanVideo(),
        cogvideox.CogVideoX(),
        wan.Wan(),
        ltx_video.LtxVideo(),
        svd.Svd(),
        image_kl.ImageKl(),
    )
}


def vae_family(name: str) -> VaeFamily:
    """The family called `name`; a `ValueError` names the known ones."""
    if name not in FAMILIES:
        raise ValueError(f"{name!r} is no known latent space; known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def latent_space(family: str) -> LatentSpace:
    """The usual latent space of `family`; raises as `vae_family` does."""
    return vae_family(family).spaces[0]


def encode_settings(family: str, tiling: bool, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every attribute of the VAE that changes latents, by its name in diffusers: part of a latent's content key.

    Args:
        family: a key of `FAMILIES`.
        tiling: spatial tiles for large frames: less memory, other latents.
        changes: other values than diffusers' defaults, such as a smaller tile.

    Raises:
        ValueError: a setting that the family's VAE does not have, or a value that it would misread.
    """
    return vae_family(family).encode_settings(tiling, changes or {})


def folder_space(folder: str | Path, family: str) -> LatentSpace:
    """The variant of `family` that the VAE in `folder` is.

    Raises:
        WeightsError: another class, or channels and ratios that no variant has; the message says which.
    """
    return vae_family(family).of_folder(Path(folder))


def normalisation(folder: str | Path, family: str) -> Normalisation:
    """How latents of the VAE in `folder` are normalised after sampling, as diffusers' pipelines of the family do.

    Raises:
        WeightsError: not a VAE of `family`, or the numbers are missing.
    """
    return vae_family(family).normalisation(Path(folder))
