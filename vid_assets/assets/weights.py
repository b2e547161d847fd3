"""Pretrained weights as assets use them: the folder that a section of the configuration names, and its content hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.weights import (
    PREPROCESSING,
    image_encoder_hash,
    resolve,
    text_encoder_hash,
    tokenizer_beside,
    weights_hash,
)
from vid_assets.digests import digest
from vid_assets.encoding.settings import ImageEncoderSection, PooledTextEncoderSection, TextEncoderSection, TextSection
from vid_assets.section import ModelSource
from vid_assets.store.memo import remembered_hash


@dataclass(frozen=True)
class ResolvedWeights:
    """A folder of pretrained weights and the hash of its content."""

    folder: Path
    hash: str
    bytes: int


@dataclass(frozen=True)
class Location:
    """Where weights lie: all that an asset needs of a section to find them, and nothing of how they are used.

    companions: folders beside them that belong to them. hash_of: names the content of their folder.
    """

    source: str
    revision: str | None
    subfolder: str | None
    companions: tuple[str, ...]
    hash_of: Callable[[Path], str]


def location(section: ModelSource) -> Location:
    """Where the weights of a section lie."""
    hash_of = _HASH.get(type(section), weights_hash)
    return Location(section.source, section.revision, section.subfolder, _companions(section), hash_of)


def weights_of(local: Path, where: Location | ModelSource, again: bool = False) -> ResolvedWeights:
    """Resolve weights and hash them. The hash is kept by the files' sizes and times, so that big ones are read once.

    Args:
        local: the local folder of the home, where hashes are remembered.
        where: they lie, or the section that says so.
        again: read them although nothing seems to have changed.
    """
    if isinstance(where, ModelSource):
        where = location(where)
    folder = resolve(where.source, where.revision, where.subfolder, beside=list(where.companions))
    beside = [folder.parent / name for name in where.companions if (folder.parent / name).is_dir()]
    files = [path for one in (folder, *beside) for path in sorted(one.iterdir()) if path.is_file()]
    stamp = digest([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
    memo = local / "state" / "weights" / f"{digest([str(folder), where.hash_of.__name__])[:24]}.json"
    found = remembered_hash(memo, {"stamp": stamp}, lambda: where.hash_of(folder), again)
    return ResolvedWeights(folder, found, sum(path.stat().st_size for path in files))


#: Hash of a folder, where more than the model's own weights decides what it gives.
_HASH: dict[type[ModelSource], Callable[[Path], str]] = {
    TextEncoderSection: text_encoder_hash,
    PooledTextEncoderSection: text_encoder_hash,
    ImageEncoderSection: image_encoder_hash,
}


def _companions(section: ModelSource) -> tuple[str, ...]:
    """A tokenizer's folder, or that of an image encoder's preprocessing."""
    if isinstance(section, ImageEncoderSection):
        return (PREPROCESSING,)
    return (tokenizer_beside(section.subfolder or section.source),) if isinstance(section, TextSection) else ()
