"""Small training sets in Lance, as the asset side writes them: latents, embeddings and members."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from model.data.training_set import TrainingSet
from model.manifest import TRAIN_CODE_VERSION, TrainingSetSpec, check_train, identity
from model.training import trainer

DIGEST = "d1"


def sample_row(index: int, shape: tuple[int, ...], posterior: str = "moments", dtype: str = "<f4") -> dict[str, Any]:
    """A latent row with seeded noise in it; a smooth part makes it learnable."""
    rng = np.random.default_rng(index)
    wave = np.sin(np.linspace(0, 6, shape[-1]) + index)[None, None, None, :]
    blob = (wave + 0.1 * rng.standard_normal(shape)).astype(dtype).tobytes()
    return {
        "sample_id": f"s{index:03d}",
        "status": "ok",
        "dtype": {"<f4": "float32", "<f2": "float16"}[dtype],
        "shape": list(shape),
        "posterior": posterior,
        "checksum": hashlib.sha256(blob).hexdigest(),
        "latent": blob,
    }


def write_table(uri: Path, rows: list[dict[str, Any]], schema: pa.Schema, blob: str | None = None) -> int:
    """Write (or append) rows; returns the version."""
    columns = {name: [row[name] for row in rows] for name in schema.names}
    arrays = [
        lance.blob_array(columns[field.name]) if field.name == blob else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    table = pa.table(dict(zip(schema.names, arrays, strict=True)), schema=schema)
    mode = "append" if uri.exists() else "create"
    return lance.write_dataset(table, str(uri), mode=mode, data_storage_version="2.2").version


LATENTS = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("status", pa.string()),
        pa.field("dtype", pa.string()),
        pa.field("shape", pa.list_(pa.int32())),
        pa.field("posterior", pa.string()),
        pa.field("checksum", pa.string()),
        lance.blob_field("latent", inline_size_threshold=0, dedicated_size_threshold=1 << 30),
    ]
)
EMBEDDINGS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("tokens", pa.int32()),
        pa.field("dim", pa.int32()),
        pa.field("dtype", pa.string()),
        lance.blob_field("embedding"),
    ]
)
MEMBERS = pa.schema(
    [(name, pa.string()) for name in ("digest", "sample_id", "caption_key", "embedding_key", "split", "bucket", "kind")]
)


def embedding_row(key: str, tokens: int, dim: int = 64) -> dict[str, Any]:
    states = np.random.default_rng(len(key) + tokens).standard_normal((tokens, dim)).astype("<f4")
    return {
        "key": key,
        "kind": "text",
        "tokens": tokens,
        "dim": dim,
        "dtype": "float32",
        "embedding": states.tobytes(),
    }


def member(index: int, bucket: str, caption: str | None = None, split: str = "train") -> dict[str, Any]:
    kind = "image" if bucket.startswith("1x") else "video"
    return {
        "digest": DIGEST,
        "sample_id": f"s{index:03d}",
        "caption_key": caption and f"text of {caption}",
        "embedding_key": caption,
        "split": split,
        "bucket": bucket,
        "kind": kind,
    }


def write_training_set(
    folder: Path,
    latents: list[dict[str, Any]],
    members: list[dict[str, Any]],
    texts: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write the three tables; returns `training_set` of a manifest."""
    spec: dict[str, Any] = {"digest": DIGEST, "embeddings_uri": None, "embeddings_version": None}
    spec["latents_uri"] = str(folder / "latents.lance")
    spec["latents_version"] = write_table(folder / "latents.lance", latents, LATENTS, "latent")
    spec["members_uri"] = str(folder / "members.lance")
    spec["members_version"] = write_table(folder / "members.lance", members, MEMBERS)
    if texts:
        spec["embeddings_uri"] = str(folder / "embeddings.lance")
        spec["embeddings_version"] = write_table(folder / "embeddings.lance", texts, EMBEDDINGS, "embedding")
    return spec


def mixed_training_set(folder: Path, height: int = 8, width: int = 8) -> dict[str, Any]:
    """Nine videos in two buckets, four stills, some captions; one video is held out."""
    h, w = height // 8, width // 8
    long, short, still = f"17x{height}x{width}@8", f"9x{height}x{width}@8", f"1x{height}x{width}"
    latents, members = [], []
    for index in range(13):
        bucket, f = (long, 5) if index < 5 else (short, 3) if index < 9 else (still, 1)
        latents.append(sample_row(index, (32, f, h, w)))
        caption = None if index % 3 == 0 else f"k{index % 3}"
        members.append(member(index, bucket, caption, "heldout" if index == 4 else "train"))
    texts = [embedding_row("k1", 5), embedding_row("k2", 9)]
    return write_training_set(folder, latents, members, texts)


def opened(spec: dict[str, Any], channels: int = 16) -> TrainingSet:
    """A training set, from `training_set` of a manifest."""
    return TrainingSet(TrainingSetSpec(**spec), channels)


def train(document: dict[str, Any], report: Any, stop_reason: Callable[[], str | None]) -> dict[str, Any]:
    """Train from a manifest as JSON."""
    return trainer.train(check_train(document), report, stop_reason)


def write_record(folder: Path, **changes: Any) -> None:
    """Write `checkpoint.json`, as of a run of `manifest`."""
    asked = manifest({"digest": DIGEST, "latents_version": 1}, folder)
    record = {
        "identity": identity(asked),
        "train_code_version": TRAIN_CODE_VERSION,
        "training_set_digest": DIGEST,
        "latents_version": 1,
        "vae_weights_hash": "w",
        "weights_hash": "h",
        "summary": {"steps": 12},
    }
    record |= {key: asked[key] for key in ("experiment", "stage", "recipe", "runtime", "parent", "code_version")}
    (folder / "checkpoint.json").write_text(json.dumps(record | changes))


def losses_of(output: Path) -> list[float]:
    """The loss of every step of a finished run."""
    return [loss for _, loss in json.loads((output / "final" / "curves.json").read_text())["loss"]]


def manifest(training_set: dict[str, Any], output: Path, **changes: Any) -> dict[str, Any]:
    """A training manifest; keyword arguments change the recipe, or the runtime where it has the key."""
    recipe: dict[str, Any] = {
        "model": "tiny-dit",
        "family": "wan",
        "weights": None,
        "image_conditioning": "none",
        "objective": {"name": "flow_matching", "shift": 3.0, "time_sampling": "logit_normal"},
        "seed": 7,
        "caption_dropout": 0.2,
        "optimizer": {"name": "adamw", "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8},
        "lr": 1e-3,
        "schedule": {"name": "constant", "warmup_steps": 4, "final_share": 0.0},
        "steps": 12,
        "batch_size": 2,
        "mix": None,
        "grad_clip": 1.0,
        "ema_decay": 0.9,
        "image_share": 0.25,
        "share_unit": "samples",
        "precision": "fp32",
        "lora": None,
    }
    runtime: dict[str, Any] = {
        "device": "cpu",
        "threads": 1,
        "workers": 0,
        "processes": 1,
        "engine": "ddp",
        "checkpoint_every": 4,
        "keep_last": 2,
        "validate_every": None,
        "activation": "none",
        "micro_batch": None,
        "dry_run": False,
        "tensorboard": False,
    }
    for key, value in changes.items():
        (runtime if key in runtime else recipe)[key] = value
    return {
        "format": 2,
        "experiment": "base",
        "stage": "small",
        "training_set": training_set,
        "vae": {
            "family": "hunyuan_video",
            "path": "/nowhere",
            "weights_hash": "w",
            "normalisation": {"shift": [0.0] * 16, "scale": [0.476986] * 16},
        },
        "recipe": recipe,
        "runtime": runtime,
        "parent": None,
        "output": str(output),
        "code_version": "1",
    }
