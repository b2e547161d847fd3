"""`vae`: the resolved weights of the VAE; the data version is the hash of their content."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from model.latent_space import latent_space
from model.weights import resolve, text_encoder_hash, weights_hash
from vid_assets.config import ModelSource, TextEncoder
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
    is_text = isinstance(source, TextEncoder)
    folder = resolve(source.source, source.revision, source.subfolder, tokenizer=is_text)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamp = digest([is_text, [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]])
    cache = project.folder("state", "weights") / f"{digest(str(folder))[:24]}.json"
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if again or known.get("stamp") != stamp:
        known = {"stamp": stamp, "hash": (text_encoder_hash if is_text else weights_hash)(folder)}
        temporary = cache.with_suffix(f".tmp-{os.getpid()}")
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(cache)
    return Weights(folder, known["hash"], sum(path.stat().st_size for path in files))


def vae(project: Project, force: bool = False) -> Output:
    """Find the VAE's weights and name them by their content."""
    config = project.config.vae
    weights = weights_of(project, config, again=force)
    space = latent_space(config.family)
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
            "bytes": weights.bytes,
        },
    )


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The hash of the weights as they are now."""
    return weights_of(project, project.config.vae).hash
