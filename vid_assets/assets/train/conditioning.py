"""What conditions a sample beside its latent: the keys of its text states, its pooled state and its image embedding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.data.kinds import KINDS
from vid_assets.assets.encode.embeddings import stored
from vid_assets.assets.encode.text_embeddings import SECTIONS, TextSource, caption_keys
from vid_assets.config import Config
from vid_assets.store.tables import Row, Store

#: Column of `training_set_members` for each kind of embedding.
COLUMNS = {name: kind.column for name, kind in KINDS.items()}
#: Kind of embedding that is of a sample, not of its caption -> the table that lists it, in a column of the same name,
#: and the section of the configuration that asks for it.
OF_SAMPLE = {"image": ("first_frames", "image_encoder")}


def of_sample(config: Config) -> dict[str, str]:
    """Kind -> table, of what of `OF_SAMPLE` is configured."""
    return {kind: table for kind, (table, section) in OF_SAMPLE.items() if getattr(config, section)}


@dataclass(frozen=True)
class Conditioning:
    """The embedding keys of samples, by sample_id and column of `training_set_members`.

    `keys` has an entry for every sample; a key is None where there is nothing to embed: no encoder, or no caption.
    `lacking` says what a sample should have and has not, because it failed or was not made.
    """

    keys: Mapping[str, Row]
    lacking: Mapping[str, str]


def conditioning(
    store: Store,
    local: Path,
    texts: Mapping[str, TextSource],
    tables: Mapping[str, str],
    samples: Iterable[Row],
) -> Conditioning:
    """The embeddings of `samples` (rows of the table `samples`), as the encoders are configured.

    Args:
        local: the local folder of the home.
        texts: what embeds captions, by kind.
        tables: as of `of_sample`; every sample should have each of these kinds.
    """
    samples = list(samples)
    of_caption = {kind: caption_keys(local, texts, kind) for kind in SECTIONS}
    own: dict[str, dict[str, str]] = {}
    for kind, table in tables.items():
        rows = store.read(table, columns=["sample_id", COLUMNS[kind]])
        own[kind] = {row["sample_id"]: row[COLUMNS[kind]] for row in rows}
    keys: dict[str, Row] = {}
    for sample in samples:
        sample_id, caption = sample["sample_id"], sample["caption_key"]
        keys[sample_id] = dict.fromkeys(COLUMNS.values())
        for kind, key_of in of_caption.items():
            keys[sample_id][COLUMNS[kind]] = key_of(caption) if caption is not None else None
        for kind, found_key in own.items():
            keys[sample_id][COLUMNS[kind]] = found_key.get(sample_id)
    found = stored(store, {key for row in keys.values() for key in row.values() if key is not None})
    there = {key for key, row in found.items() if row["status"] == "ok"}
    lacking = {}
    for sample_id, row in keys.items():
        missing = [kind for kind, column in COLUMNS.items() if row[column] is not None and row[column] not in there]
        missing += [kind for kind in tables if row[COLUMNS[kind]] is None]
        if missing:
            lacking[sample_id] = ", ".join(missing)
    return Conditioning(keys, lacking)
