"""`vae`: the resolved weights of the VAE; the data version is the hash of their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.vaes import folder_space, normalisation
from model.vaes.space import LatentSpace
from vid_assets.assets.asset import Asset, Slice, Work
from vid_assets.assets.weights import location, weights_of
from vid_assets.config import Config
from vid_assets.encoding.settings import Bucket
from vid_assets.section import ConfigError
from vid_assets.store.cache import Output
from vid_assets.store.state import AssetState

#: Bumped by hand with this file and `model.weights`.
VAE_VERSION = "1"


def vae(work: Work) -> Output:
    """Find the VAE's weights and name them by their content; refused where a number of its normalisation is missing."""
    family = work.runtime["family"]
    weights = weights_of(work.local, work.runtime["weights"], again=work.force)
    space = checked_space(weights.folder, family, work.runtime["buckets"])
    normalisation(weights.folder, family)
    return Output(
        weights.hash,
        weights.hash,
        rows=1,
        computed=1,
        facts={
            "family": family,
            "folder": str(weights.folder),
            "note": work.runtime["note"],
            "compression": f"{space.temporal}x{space.spatial}x{space.spatial}, {space.channels} channels",
            "takes": f"{space.frame_rule}, height and width in multiples of {space.sides}",
            "bytes": weights.bytes,
        },
    )


def checked_space(folder: Path, family: str, buckets: Sequence[Bucket]) -> LatentSpace:
    """The latent space of the VAE in `folder`, if it is of the family and can hold every bucket of the curriculum.

    Raises `WeightsError` or `ConfigError`: a checkpoint may have other ratios than its family's usual ones.
    """
    space = folder_space(folder, family)
    for bucket in buckets:
        try:
            bucket.check(space)
        except ValueError as error:
            raise ConfigError(f"stages: bucket {error}; so it is for the VAE in {folder}") from None
    return space


def _hash(work: Work) -> str:
    return weights_of(work.local, work.runtime["weights"]).hash


def _verify(work: Work, state: AssetState) -> str:
    return _hash(work)


def _doc(config: Config) -> str:
    note = f" ({config.vae.note})" if config.vae.note else ""
    return f"The weights of the {config.vae.family} VAE{note}. The data version is the hash of their content."


ASSET = Asset(
    "vae",
    group="encode",
    doc=_doc,
    kinds=frozenset({"huggingface"}),
    code_version=VAE_VERSION,
    slices=(Slice(lambda work: {"vae weights": _hash(work)}),),
    runtime=lambda config, partition: {
        "weights": location(config.vae),
        "family": config.vae.family,  # another one than that of the weights is refused
        "note": config.vae.note or "",
        "buckets": config.buckets,
    },
    run=vae,
    verify=_verify,
)
