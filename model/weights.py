"""Pretrained weights on disk: finding the folder, and the hash that names its content.

Imports neither torch nor diffusers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import ModelError, first_line

# What `from_pretrained` would load, in its order of preference; diffusers' names, then transformers'.
_SINGLE = ("diffusion_pytorch_model", "model")
_TORCH_SINGLE = ("diffusion_pytorch_model", "pytorch_model")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


class WeightsError(ModelError):
    """A folder does not hold weights that can be used; the message names the folder and what is missing."""


def resolve(
    source: str, revision: str | None = None, subfolder: str | None = None, *, beside: Collection[str] = ()
) -> Path:
    """The local folder that holds `config.json`; `subfolder` is already appended.

    Args:
        source: a local folder, or a repository of the model hub (`owner/name`), which is downloaded to its cache.
        revision: commit, tag or branch of a hub repository. A local folder has none.
        subfolder: folder inside `source`, such as `vae`.
        beside: folders beside `subfolder` that are downloaded with it, such as its tokenizer's.

    Raises:
        WeightsError: neither a folder with a `config.json` nor a repository that can be had.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        root = local
    elif source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise WeightsError(f"{source}: no such folder, and no hub repository (owner/name) either")
    else:
        root = Path(_download(source, revision, subfolder, beside))
    folder = root / subfolder if subfolder else root
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: holds no config.json; give the folder of the weights (see `subfolder`)")
    return folder.resolve()


def _download(source: str, revision: str | None, subfolder: str | None, beside: Collection[str]) -> str:
    import huggingface_hub

    allowed, ignored = None, ["*/*"]  # not the rest of a pipeline, tens of GB
    if subfolder:
        folders = [subfolder, *(str(PurePosixPath(subfolder).parent / name) for name in beside)]
        allowed, ignored = [f"{folder}/*" for folder in folders], []
    try:
        return huggingface_hub.snapshot_download(
            source, revision=revision, allow_patterns=allowed, ignore_patterns=ignored
        )
    except Exception as error:  # the hub client raises many unrelated types, from HTTP to validation
        reason = first_line(error)
        at = f" at revision {revision}" if revision else ""
        raise WeightsError(f"{source}{at}: no such local folder, and the model hub gave: {reason}") from error


def weights_hash(folder: str | Path, subfolder: str | None = None) -> str:
    """SHA-256 (hex) of what a model computes with: its configuration, and the bytes of its weight files.

    The configuration enters as canonical JSON without keys that start with `_` (class and library versions, paths).
    Only the files that `from_pretrained` would load enter, by name and content: safetensors before pickles.

    Raises:
        WeightsError: no `config.json`, no weights, or a shard that the index names is missing.
    """
    folder = Path(folder) / subfolder if subfolder else Path(folder)
    digest = hashlib.sha256(_canonical_config(folder).encode())
    for path in weight_files(folder):
        digest.update(f"\n{path.name}:{file_sha256(path)}".encode())
    return digest.hexdigest()


def text_encoder_hash(folder: str | Path, subfolder: str | None = None) -> str:
    """SHA-256 (hex) of a text encoder: its `weights_hash`, and the files of its tokenizer."""
    folder = Path(folder) / subfolder if subfolder else Path(folder)
    digest = hashlib.sha256(weights_hash(folder).encode())
    tokenizer = tokenizer_folder(folder)
    for name in _TOKENIZER:
        if (tokenizer / name).is_file():
            digest.update(f"\n{name}:{file_sha256(tokenizer / name)}".encode())
    return digest.hexdigest()


def tokenizer_beside(subfolder: str) -> str:
    """The folder of the tokenizer of a text encoder in diffusers' layout: `tokenizer_2` for `text_encoder_2`."""
    name = PurePosixPath(subfolder).name
    return name.replace("text_encoder", "tokenizer") if name.startswith("text_encoder") else "tokenizer"


def tokenizer_folder(folder: str | Path) -> Path:
    """Where the tokenizer of a text encoder is: in its folder, or in `tokenizer_beside` it."""
    folder = Path(folder)
    beside = folder.parent / tokenizer_beside(folder.name)
    for candidate in (folder, beside):
        if any((candidate / name).is_file() for name in _TOKENIZER):
            return candidate
    raise WeightsError(f"{folder}: no tokenizer, neither in this folder nor in {beside}")


#: Folder of an image encoder's preprocessing beside its weights, in diffusers' layout.
PREPROCESSING = "feature_extractor"


def image_encoder_hash(folder: str | Path) -> str:
    """SHA-256 (hex) of an image encoder: its `weights_hash`, and the mean and deviation of its input."""
    levels = json.dumps(image_levels(folder))
    return hashlib.sha256(f"{weights_hash(folder)} {levels}".encode()).hexdigest()


def image_levels(folder: str | Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the red, green and blue levels (0-1) that an image encoder was trained with.

    From `preprocessor_config.json` in its folder or in `feature_extractor` beside it. Raises `WeightsError`.
    """
    folder = Path(folder)
    for candidate in (folder, folder.parent / PREPROCESSING):
        path = candidate / "preprocessor_config.json"
        if path.is_file():
            config = read_json(path)
            levels = tuple([float(level) for level in config.get(key, [])] for key in ("image_mean", "image_std"))
            if any(len(three) != 3 for three in levels):
                raise WeightsError(f"{path}: lacks image_mean or image_std of three channels")
            return levels[0], levels[1]
    raise WeightsError(f"{folder}: no preprocessor_config.json, neither here nor in {folder.parent / PREPROCESSING}")


#: Which folder of a trained checkpoint holds which weights: their moving average, and the last ones.
PARTS = {"ema": "ema", "raw": "denoiser"}


def checkpoint_hash(folder: str | Path) -> str:
    """SHA-256 (hex) of a trained checkpoint: over its EMA weights (`ema/`) and its raw weights (`denoiser/`)."""
    folder = Path(folder)
    return hashlib.sha256(f"{weights_hash(folder / 'ema')} {weights_hash(folder / 'denoiser')}".encode()).hexdigest()


def weight_files(folder: str | Path) -> list[Path]:
    """The weight files in `folder` that `from_pretrained` would load, in order of name."""
    folder = Path(folder)
    for stems, suffix in ((_SINGLE, "safetensors"), (_TORCH_SINGLE, "bin")):
        for stem in stems:
            single, index = folder / f"{stem}.{suffix}", folder / f"{stem}.{suffix}.index.json"
            if single.is_file():
                return [single]
            if index.is_file():
                shards = [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
                missing = [shard.name for shard in shards if not shard.is_file()]
                if missing:
                    raise WeightsError(f"{folder}: {index.name} names files that are not there: {', '.join(missing)}")
                return shards
    raise WeightsError(f"{folder}: holds no weights (diffusion_pytorch_model or model, .safetensors or .bin)")


def file_sha256(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical_config(folder: Path) -> str:
    config = {key: value for key, value in read_json(folder / "config.json").items() if not key.startswith("_")}
    # transformers writes its own version and the dtype that the weights happened to have when they were saved
    config.pop("transformers_version", None)
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that belongs to weights. Raises `WeightsError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path.parent}: holds no {path.name}") from None
    except ValueError as error:
        raise WeightsError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: must hold a JSON object")
    return value
