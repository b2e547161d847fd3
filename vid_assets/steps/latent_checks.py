"""What is checked of a batch's stored latents, by reading them back. Belongs here: finding; `checks` judges."""

from __future__ import annotations

import hashlib
import math

from vid_assets.encoding.rows import from_bytes
from vid_assets.project import Project
from vid_assets.steps.latents import stored, stored_latents
from vid_assets.store.tables import equals


def batch_keys(project: Project, batch: str) -> list[str]:
    """The content key of each window of a batch that is listed as a sample."""
    return [row["sample_id"] for row in project.store.read("samples", equals("ingest_batch", batch), ["sample_id"])]


def misshapen(project: Project, sample_ids: list[str]) -> list[str]:
    """In words, the stored latents whose shape or type is not what their own key says, failed ones left out."""
    from model.vae_folder import folder_space
    from vid_assets.steps.vae import weights_of

    config = project.config
    space = folder_space(weights_of(project, config.vae).folder, config.vae.family)
    columns = ["status", "shape", "dtype", "posterior", "frames", "height", "width"]
    found = []
    for sample_id, row in sorted(stored(project, sample_ids, columns).items()):
        if row["status"] != "ok":
            continue
        channels, *size = space.latent_shape(row["frames"], row["height"], row["width"])
        expected = [channels * (2 if row["posterior"].startswith("moments") else 1), *size]
        if row["shape"] != expected or row["dtype"] != config.encoding.dtype:
            wanted = f"{config.encoding.dtype} {expected}"
            found.append(f"{sample_id[:12]} is {row['dtype']} {row['shape']}, not {wanted}")
    return found


def damaged(project: Project, sample_ids: list[str], count: int) -> list[str]:
    """Read up to `count` of the latents back; in words, those whose bytes are not what was written, or not finite."""
    import numpy as np

    keys = sorted(set(sample_ids))
    found = []
    for row, payload in stored_latents(project, keys[:: max(1, len(keys) // count)][:count]):
        name = row["sample_id"][:12]
        if hashlib.sha256(payload).hexdigest() != row["checksum"]:
            found.append(f"{name} does not have its checksum")
            continue
        try:
            values = from_bytes(payload, row["dtype"], row["shape"])
        except ValueError:
            found.append(f"{name} has {len(payload)} bytes for {math.prod(row['shape'])} values of {row['dtype']}")
            continue
        if not np.isfinite(values).all():
            found.append(f"{name} is not finite")
    return found
