"""`vae`: the resolved weights of the VAE; the data version is the hash of their content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.latent_space import LatentSpace
from model.vae_folder import folder_space, normalisation
from model.weights import (
    PREPROCESSING,
    image_encoder_hash,
    resolve,
    text_encoder_hash,
    tokenizer_beside,
    weights_hash,
)
from vid_assets.config import ConfigError, ImageEncoder, ModelSource, PooledTextEncoder, TextEncoder, TextSource
from vid_assets.project import Project
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest


@dataclass(frozen=True)
class Weights:
    """A folder of pretrained weights and the hash of its content."""

    folder: Path
    hash: str
    bytes: int


def weights_of(project: Project, source: ModelSource, again: bool = False) -> Weights:
    """Resolve weights and hash them. The hash is kept by the files' sizes and times, so that big ones are read once.

    `again` reads them although nothing seems to have changed.
    """
    companions, hash_of = _companions(source), _HASH.get(type(source), weights_hash)
    folder = resolve(source.source, source.revision, source.subfolder, beside=companions)
    folders = [folder, *(folder.parent / name for name in companions if (folder.parent / name).is_dir())]
    files = [path for one in folders for path in sorted(one.iterdir()) if path.is_file()]
    stamp = digest([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
    cache = project.folder("state", "weights") / f"{digest([str(folder), hash_of.__name__])[:24]}.json"
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if again or known.get("stamp") != stamp:
        known = {"stamp": stamp, "hash": hash_of(folder)}
        temporary = cache.with_suffix(f".tmp-{os.getpid()}")
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(cache)
    return Weights(folder, known["hash"], sum(path.stat().st_size for path in files))


#: Hash of a folder, where more than the model's own weights decides what it gives.
_HASH: dict[type[ModelSource], Callable[[Path], str]] = {
    TextEncoder: text_encoder_hash,
    PooledTextEncoder: text_encoder_hash,
    ImageEncoder: image_encoder_hash,
}


def _companions(source: ModelSource) -> list[str]:
    """Folders beside the weights that belong to them: a tokenizer's, or that of an image encoder's preprocessing."""
    if isinstance(source, ImageEncoder):
        return [PREPROCESSING]
    return [tokenizer_beside(source.subfolder or source.source)] if isinstance(source, TextSource) else []


def vae(project: Project, force: bool = False) -> Output:
    """Find the VAE's weights and name them by their content; refused where a number of its normalisation is missing."""
    config = project.config.vae
    weights = weights_of(project, config, again=force)
    space = checked_space(project, weights.folder)
    normalisation(weights.folder, config.family)
    return Output(
        weights.hash,
        weights.hash,
        rows=1,
        computed=1,
        facts={
            "family": config.family,
            "folder": str(weights.folder),
            "note": config.note or "",
            "compression": f"{space.temporal}x{space.spatial}x{space.spatial}, {space.channels} channels",
            "takes": f"{space.frame_rule}, height and width in multiples of {space.sides}",
            "bytes": weights.bytes,
        },
    )


def checked_space(project: Project, folder: Path) -> LatentSpace:
    """The latent space of the VAE in `folder`, if it is of the family and can hold every bucket of the curriculum.

    Raises `WeightsError` or `ConfigError`: a checkpoint may have other ratios than its family's usual ones.
    """
    space = folder_space(folder, project.config.vae.family)
    for bucket in project.config.buckets:
        try:
            bucket.check(space)
        except ValueError as error:
            raise ConfigError(f"stages: bucket {error}; so it is for the VAE in {folder}") from None
    return space


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The hash of the weights as they are now."""
    return weights_of(project, project.config.vae).hash
