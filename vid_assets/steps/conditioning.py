"""What conditions a sample beside its latent: the keys of its text states, its pooled state and its image embedding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vid_assets.project import Project
from vid_assets.steps.embeddings import stored
from vid_assets.steps.text import KINDS, embedding_keys
from vid_assets.store.tables import Row

#: Column of `training_set_members` for each kind of embedding.
COLUMNS = {"text": "embedding_key", "pooled": "pooled_key", "image": "image_key"}


@dataclass(frozen=True)
class Conditioning:
    """The embedding keys of samples, by sample_id and column of `training_set_members`.

    `keys` has an entry for every sample; a key is None where there is nothing to embed: no encoder, or no caption.
    `lacking` says what a sample should have and has not, because it failed or was not made.
    """

    keys: Mapping[str, Row]
    lacking: Mapping[str, str]


def conditioning(project: Project, samples: Iterable[Row]) -> Conditioning:
    """The embeddings of `samples` (rows of the table `samples`), as the encoders are configured now."""
    samples = list(samples)
    of_caption = {kind: embedding_keys(project, kind) for kind in KINDS}
    frames = {row["sample_id"]: row["image_key"] for row in _image_rows(project)}
    keys: dict[str, Row] = {}
    for sample in samples:
        caption = sample["caption_key"]
        texts = {COLUMNS[kind]: key(caption) if caption is not None else None for kind, key in of_caption.items()}
        keys[sample["sample_id"]] = texts | {COLUMNS["image"]: frames.get(sample["sample_id"])}
    found = stored(project, {key for row in keys.values() for key in row.values() if key is not None})
    there = {key for key, row in found.items() if row["status"] == "ok"}
    lacking = {}
    for sample_id, row in keys.items():
        missing = [kind for kind, column in COLUMNS.items() if row[column] is not None and row[column] not in there]
        if project.config.image_encoder and row[COLUMNS["image"]] is None:
            missing.append("image")
        if missing:
            lacking[sample_id] = ", ".join(missing)
    return Conditioning(keys, lacking)


def _image_rows(project: Project) -> list[Row]:
    if project.config.image_encoder is None:
        return []
    return project.store.read("first_frames", columns=["sample_id", "image_key"])
