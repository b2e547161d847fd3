"""The training manifest: what a run is told, checked before anything heavy is imported, and what makes it the same run.

A manifest is one JSON object. `runtime` and `output` change nothing that is learned; nor do the places where
things lie (uris, paths): all else is the identity of the run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.errors import ModelError

#: Bump by hand when the same manifest trains other weights (objective, order, optimiser, initialisation, ...).
TRAIN_CODE_VERSION = "2"

FORMAT = 1
_NUMBER = (int, float)
_TRAINING_SET: dict[str, Any] = {
    "digest": str,
    "latents_uri": str,
    "latents_version": int,
    "members_uri": str,
    "members_version": int,
    "embeddings_uri": (str, type(None)),
    "embeddings_version": (int, type(None)),
}
_VAE: dict[str, Any] = {
    "family": str,
    "path": str,
    "weights_hash": str,
    "normalisation": {"shift": list, "scale": list},
}
_OBJECTIVE: dict[str, Any] = {"name": str, "shift": _NUMBER, "time_sampling": str}
_TRAIN: dict[str, Any] = {
    "format": int,
    "experiment": str,
    "stage": str,
    "training_set": _TRAINING_SET,
    "vae": _VAE,
    "recipe": {
        "model": str,
        "objective": _OBJECTIVE,
        "seed": int,
        "caption_dropout": _NUMBER,
        "weight_decay": _NUMBER,
        "steps": int,
        "batch_size": int,
        "lr": _NUMBER,
        "warmup_steps": int,
        "grad_clip": _NUMBER,
        "ema_decay": _NUMBER,
        "image_share": _NUMBER,
        "share_unit": str,
    },
    "runtime": {"device": str, "threads": (int, type(None)), "checkpoint_every": int, "workers": int},
    "output": str,
    "code_version": str,
}
_PARENT: dict[str, Any] = {"folder": str, "weights_hash": str, "weights": str}
_EVALUATE: dict[str, Any] = {
    "training_set": _TRAINING_SET,
    "vae": _VAE,
    "recipe": {"model": str, "objective": _OBJECTIVE},
    "checkpoint": str,
    "evaluation": {"videos": int, "sampling_steps": int, "fps": _NUMBER, "seed": int},
    "output": str,
}
_PLACES = {"latents_uri", "members_uri", "embeddings_uri", "path", "folder"}


class ManifestError(ModelError):
    """A manifest lacks a key, or a value has the wrong type; the message lists every one."""


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read and check a training manifest."""
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON: {error}") from None
    check_train(manifest, str(path))
    return manifest


def check_train(manifest: Any, name: str = "manifest") -> None:
    """Raise `ManifestError` unless `manifest` can be trained from."""
    _check(manifest, _TRAIN, name)
    if manifest["format"] != FORMAT:
        raise ManifestError(f"{name}: format {manifest['format']} is not known; this code reads format {FORMAT}")
    if manifest["recipe"]["objective"]["name"] != "flow_matching":
        raise ManifestError(f"{name}: recipe.objective.name must be flow_matching")
    for key in ("steps", "batch_size"):
        if manifest["recipe"][key] < 1:
            raise ManifestError(f"{name}: recipe.{key} must be at least 1")
    if manifest["recipe"]["share_unit"] not in ("samples", "tokens"):
        raise ManifestError(f"{name}: recipe.share_unit must be samples or tokens")
    if manifest["runtime"]["workers"] < 0:
        raise ManifestError(f"{name}: runtime.workers must be at least 0")
    if manifest["runtime"]["checkpoint_every"] < 1:
        raise ManifestError(f"{name}: runtime.checkpoint_every must be at least 1")
    parent = manifest.get("parent")
    if parent is not None:
        _check(parent, _PARENT, f"{name}: parent")
        if parent["weights"] not in ("ema", "raw"):
            raise ManifestError(f"{name}: parent.weights must be ema or raw, not {parent['weights']!r}")


def check_evaluate(manifest: Any, name: str = "evaluation manifest") -> None:
    """Raise `ManifestError` unless `manifest` can be evaluated from."""
    _check(manifest, _EVALUATE, name)


def identity(manifest: dict[str, Any]) -> dict[str, Any]:
    """What decides the weights that come out: the manifest without runtime, output and places, and the code version."""
    kept = {key: value for key, value in manifest.items() if key not in ("runtime", "output")}
    return {**_without_places(kept), "train_code_version": TRAIN_CODE_VERSION}


def difference(now: Any, before: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, a line each, such as `recipe.lr: 0.001 before, 0.002 now`."""
    if isinstance(now, dict) and isinstance(before, dict):
        lines = []
        for key in sorted(now.keys() | before.keys()):
            lines += difference(now.get(key), before.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if now == before else [f"{path}: {json.dumps(before)} before, {json.dumps(now)} now"]


def _without_places(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_places(item) for key, item in value.items() if key not in _PLACES}


def _check(value: Any, schema: dict[str, Any], name: str) -> None:
    problems = _problems(value, schema, "")
    if problems:
        raise ManifestError(f"{name}: " + "; ".join(problems))


def _problems(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path or 'the whole'} must be an object"]
    problems = []
    for key, expected in schema.items():
        where = f"{path}.{key}" if path else key
        if key not in value:
            problems.append(f"{where} is missing")
        elif isinstance(expected, dict):
            problems += _problems(value[key], expected, where)
        elif not isinstance(value[key], expected) or (isinstance(value[key], bool) and expected is not bool):
            problems.append(f"{where} is {value[key]!r}, of the wrong type")
    return problems
