"""What a configuration comes to for a training run is the same in every release, byte for byte; it names the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.denoisers import PRESETS
from model.manifest import check_train, identity
from vid_assets.assets.train.manifest import run_key
from vid_assets.config import Config
from vid_assets.config.file import parse_config
from vid_assets.digests import canonical
from vid_assets_tests.unit.test_config import changed

#: Name -> changes of the first stage and of the recipe, the family of the latents, and the run key that the release
#: before the recipe was typed gave.
RECORDED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "defaults": ({}, {}, "hunyuan_video", "4199e4d7b3e5cd36"),
    "whole numbers": (
        {"lr": 1, "grad_clip": 2, "ema_decay": 0, "batch_size": 6, "schedule": {"name": "linear", "final_share": 0}},
        {"objective": {"shift": 5, "logit_std": 2}, "optimizer": {"weight_decay": 0, "betas": [0, 0.5]}, "seed": 3},
        "hunyuan_video",
        "f748f710af56422f",
    ),
    "by bucket": (
        {"batch_size": {"9x96x128@8.0": 6}, "mix": {"9x96x128@8": 3, "1x96x128": 1}, "share_unit": "tokens"},
        {"precision": "bf16", "caption_dropout": 1},
        "hunyuan_video",
        "0bde06f9b5b2dae7",
    ),
    "adapters": (
        {"schedule": {"name": "cosine", "warmup_steps": 3, "final_share": 0.25}, "micro_batch": 2},
        {"weights": {"source": "x/y"}, "lora": {"rank": 8, "targets": ["to_q"], "dropout": 0.1}},
        "hunyuan_video",
        "b2bbedf870e39fd4",
    ),
    "another family": (
        {"buckets": ["9x128x128@8"], "image_share": 0, "activation": "block"},
        {
            "model": "svd-tiny",
            "objective": {"sigma_max": 80},
            "lora": {"rank": 4, "alpha": 2},
            "weights": {"source": "x/y"},
        },
        "svd",
        "afa4ef9d0d73e065",
    ),
}


def document(config: Config) -> dict[str, Any]:
    """A manifest of the first stage of the only experiment, of a fixed training set and VAE."""
    (name, recipe), stage = next(iter(config.experiments.items())), config.stages[0]
    run = {
        "device",
        "threads",
        "workers",
        "processes",
        "engine",
        "keep_last",
        "validate_every",
        "dry_run",
        "tensorboard",
    }
    table = {
        f"{key}_{what}": "t" if what == "uri" else 1 for key in ("latents", "members") for what in ("uri", "version")
    }
    made = {
        "format": 2,
        "experiment": name,
        "stage": stage.name,
        "training_set": {"digest": "d", "embeddings_uri": None, "embeddings_version": None, **table},
        "vae": {
            "family": config.vae.family,
            "path": "/vae",
            "weights_hash": "v",
            "normalisation": {"shift": [0.0], "scale": [0.476986]},
        },
        "recipe": {
            **recipe.settings,
            **stage.settings,
            "family": PRESETS[recipe.model].family,
            "weights": {"folder": "/w", "weights_hash": "w"} if recipe.weights else None,
        },
        "runtime": {
            **config.train.model_dump(include=run),
            "checkpoint_every": stage.checkpoint_every,
            "micro_batch": stage.micro_batch,
            "activation": "none",
        },
        "parent": None,
        "output": "/out",
        "code_version": "3",
    }
    return json.loads(json.dumps(made))


@pytest.mark.parametrize("name", RECORDED)
def test_a_configuration_names_the_run_that_it_named_before(name: str) -> None:
    stage, recipe, family, key = RECORDED[name]

    def change(data: dict[str, Any]) -> None:
        data["vae"]["family"] = family
        data["experiments"] = {"one": recipe}
        data["stages"] = [data["stages"][0] | stage]

    made = document(parse_config(changed(change)))
    assert run_key(made) == key
    read = check_train(made).document()
    assert canonical(read) == canonical(made), "and reading a manifest changes no byte of it"
    assert canonical(identity(read)) == canonical(identity(made))
