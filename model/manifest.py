"""The training manifest: what a run is told, checked before anything heavy is imported, and what makes it the same run.

A manifest is one JSON object. `runtime` and `output` change nothing that is learned, beyond the rounding of another
order of additions; nor do the places where things lie (uris, paths). All else is the identity of the run. Every key is
required: defaults belong to whoever writes manifests, so that a manifest says all that was decided.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.manifest_schema import (
    Rule,
    any_of,
    by_name,
    exactly,
    fraction,
    list_of,
    number,
    one_of,
    problems,
    some,
    text,
    truth,
    whole,
)

#: Bump by hand when the same manifest trains other weights (objective, order, optimiser, initialisation, ...).
TRAIN_CODE_VERSION = "3"

FORMAT = 2

_TRAINING_SET: dict[str, Any] = {
    "digest": text(),
    "latents_uri": text(),
    "latents_version": whole(),
    "members_uri": text(),
    "members_version": whole(),
    "embeddings_uri": some(text()),
    "embeddings_version": some(whole()),
}
_VAE: dict[str, Any] = {
    "family": text(),
    "path": text(),
    "weights_hash": text(),
    "normalisation": {"shift": list_of(number()), "scale": list_of(number())},
}
#: What denoiser it is, and what it predicts: the part of a recipe that an evaluation reads too.
_MODEL: dict[str, Any] = {
    "model": text(),
    "family": text(),
    "image_conditioning": one_of("none", "first_frame"),
    "objective": by_name("flow_matching", "edm", "ddpm"),
}
_RECIPE: dict[str, Any] = {
    **_MODEL,
    "weights": some({"folder": text(), "weights_hash": text()}),
    "seed": whole(),
    "caption_dropout": fraction(),
    "optimizer": {
        "name": one_of("adamw", "adamw_fused", "adamw_8bit"),
        "weight_decay": number(at_least=0),
        "betas": list_of(fraction(), length=2),
        "eps": number(above=0),
    },
    "lr": number(at_least=0),
    "schedule": {
        "name": one_of("constant", "cosine", "linear"),
        "warmup_steps": whole(at_least=0),
        "final_share": fraction(),
    },
    "steps": whole(at_least=1),
    "batch_size": any_of(whole(at_least=1), {str: whole(at_least=1)}),
    "mix": some({str: number(above=0)}),
    "grad_clip": number(above=0),
    "ema_decay": fraction(),
    "image_share": fraction(),
    "share_unit": one_of("samples", "tokens"),
    "precision": one_of("fp32", "bf16", "fp16"),
    "lora": some(
        {
            "rank": whole(at_least=1),
            "alpha": number(above=0),
            "targets": some(list_of(text())),
            "dropout": fraction(),
        }
    ),
}
_RUNTIME: dict[str, Any] = {
    "device": text(),
    "threads": some(whole(at_least=1)),
    "workers": whole(at_least=0),
    "processes": some(whole(at_least=1)),
    "engine": one_of("ddp", "fsdp2"),
    "checkpoint_every": whole(at_least=1),
    "keep_last": whole(at_least=1),
    "validate_every": some(whole(at_least=1)),
    "activation": any_of(text(), {str: truth()}),
    "micro_batch": some(any_of(whole(at_least=1), {str: whole(at_least=1)})),
    "dry_run": truth(),
    "tensorboard": truth(),
}
_TRAIN: dict[str, Any] = {
    "format": exactly(FORMAT),
    "experiment": text(),
    "stage": text(),
    "training_set": _TRAINING_SET,
    "vae": _VAE,
    "recipe": _RECIPE,
    "runtime": _RUNTIME,
    "parent": some({"folder": text(), "weights_hash": text(), "weights": one_of("ema", "raw")}),
    "output": text(),
    "code_version": text(),
}
_EVALUATE: dict[str, Any] = {
    "training_set": _TRAINING_SET,
    "vae": _VAE,
    "recipe": _MODEL,
    "checkpoint": text(),
    "evaluation": {
        "videos": whole(at_least=0),
        "sampling_steps": whole(at_least=1),
        "guidance": some(number(at_least=0)),
        "fps": number(above=0),
        "seed": whole(),
    },
    "output": text(),
}
_COMPARE: Rule = list_of({"name": text(), "folder": text()})
_PLACES = {"latents_uri", "members_uri", "embeddings_uri", "path", "folder"}


class ManifestError(ModelError):
    """A manifest lacks a key, has one that is not known, or a value is not allowed; the message lists every one."""


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
    found = problems(manifest, _TRAIN, closed=True)
    if found:
        raise ManifestError(f"{name}: " + "; ".join(found))
    eight_bit = manifest["recipe"]["optimizer"]["name"] == "adamw_8bit"
    if eight_bit and manifest["runtime"]["engine"] == "fsdp2" and manifest["runtime"]["processes"] != 1:
        raise ManifestError(
            f"{name}: recipe.optimizer.name adamw_8bit works in blocks that runtime.engine fsdp2 would cut apart; use "
            "adamw or adamw_fused, whose state fsdp2 shards, or engine ddp"
        )
    # A parent holds whole weights, also where adapters were trained: those that these were added to may be named still.
    if manifest["recipe"]["weights"] and manifest["parent"] and not manifest["recipe"]["lora"]:
        raise ManifestError(f"{name}: recipe.weights and parent both name weights to start from; one of them is null")


def check_evaluate(manifest: Any, name: str = "evaluation manifest") -> None:
    """Raise `ManifestError` unless `manifest` can be evaluated from. What else a training manifest has may stay."""
    found = problems(manifest, _EVALUATE)
    if not found and "compare" in manifest:
        found = problems(manifest["compare"], _COMPARE, "compare")
    if found:
        raise ManifestError(f"{name}: " + "; ".join(found))


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
