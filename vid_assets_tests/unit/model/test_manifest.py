"""Manifests and records: those of the former release are read and are the same run; what is wrong is said in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import CheckpointError, read_record
from model.manifest import ManifestError, check_evaluate, check_train, identity
from model.training.finish import finished_before
from model.training.run_state import OtherRunError
from vid_assets_tests.unit.model.tables import manifest

#: A manifest, and the record of the run that it became, before either was typed; written by hand, with whole numbers.
FORMER = json.loads((Path(__file__).parent / "former_release.json").read_text(encoding="utf-8"))


@pytest.fixture
def former() -> dict[str, Any]:
    return copy.deepcopy(FORMER)


def test_a_run_of_the_former_release_is_found_again(former: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text(json.dumps(former["checkpoint"]))
    asked = check_train(former["manifest"])
    assert identity(asked.document()) == former["checkpoint"]["identity"]
    summary = finished_before(asked, tmp_path)
    assert summary["weights_hash"] == former["checkpoint"]["weights_hash"]
    former["manifest"]["recipe"]["objective"]["shift"] = 4
    with pytest.raises(OtherRunError, match=r"recipe\.objective\.shift: 3 before, 4 now$"):
        finished_before(check_train(former["manifest"]), tmp_path)


def test_a_record_of_the_former_release_is_read(former: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no finished checkpoint: checkpoint\.json: No such file"):
        read_record(tmp_path)
    (tmp_path / "checkpoint.json").write_text(json.dumps(former["checkpoint"]))
    record = read_record(tmp_path)
    recipe = record.denoiser()
    assert (recipe.model, recipe.precision, recipe.first_frame) == ("tiny-dit", "bf16", False)
    assert recipe.objective.model_dump(exclude_unset=True) == former["checkpoint"]["recipe"]["objective"]
    assert record.summary == former["checkpoint"]["summary"]
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: identity Field required"):
        read_record(tmp_path)
    (tmp_path / "checkpoint.json").write_bytes(b'{"identity": "\xff"}')
    with pytest.raises(CheckpointError, match=r"checkpoint\.json:  Invalid JSON"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("objective", {"name": "flow_other"}, "recipe.objective .*'flow_other': known are flow_matching"),
        ("objective", {"name": ["edm"]}, r"recipe.objective .*\['edm'\]: known are"),
        ("image_conditioning", "last_frame", "recipe.image_conditioning .*'first_frame'"),
    ],
)
def test_a_record_with_a_recipe_that_is_not_known_still_names_its_weights(
    key: str, value: Any, words: str, former: dict[str, Any], tmp_path: Path
) -> None:
    former["checkpoint"]["recipe"][key] = value
    (tmp_path / "checkpoint.json").write_text(json.dumps(former["checkpoint"]))
    record = read_record(tmp_path)
    assert record.weights_hash == former["checkpoint"]["weights_hash"]
    with pytest.raises(CheckpointError, match=words):
        record.denoiser()


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *at, key = path.split(".")
        for name in at:
            document = document[name]
        document[key] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("format", 1, "format is 1; it must be 2"),
        ("trainset", {}, "trainset is not known; did you mean training_set?"),
        ("parent", {"folder": "f"}, "parent.weights_hash is missing; parent.weights is missing"),
        ("training_set.latents_version", True, "training_set.latents_version is True; it must be a whole number"),
        ("training_set.embeddings_uri", "", "training_set.embeddings_uri is ''; it must be a text, or null"),
        ("vae.normalisation", {"shift": [0.0]}, "vae.normalisation.scale is missing"),
        (
            "vae.normalisation",
            {"shift": [0.0], "scale": [1.0], "shfit": []},
            "vae.normalisation.shfit is not known; did you mean shift?",
        ),
        ("recipe.objective", {"shift": 1}, "recipe.objective: name None: known are flow_matching, edm, ddpm"),
        ("recipe.objective", {"name": {}}, "recipe.objective: name {}: known are flow_matching, edm, ddpm"),
        ("recipe.lora", {"rank": 1, "alpha": None, "targets": None, "dropout": 0}, "recipe.lora.alpha is None; it"),
        (
            "recipe.lora",
            {"rank": 1, "alpha": 1, "targets": [], "dropout": 0},
            "recipe.lora.targets is []; it must be a list, not empty, each a text, or null",
        ),
        ("recipe.lr", float("nan"), "recipe.lr is nan; it must be a number of at least 0"),
        ("recipe.steps", 1.0, "recipe.steps is 1.0; it must be a whole number of at least 1"),
        ("recipe.mix", 3, "recipe.mix is 3; it must be an object of values, each a number above 0, or null"),
        (
            "recipe.batch_size",
            "x",
            "recipe.batch_size is 'x'; it must be a whole number of at least 1, or an object of values, each a whole",
        ),
        ("recipe.objective", {"name": "edm", "shift": 1}, "recipe.objective: shift: edm has no such key, its keys are"),
        (
            "recipe.optimizer",
            {"name": "adamw", "betas": [0.9], "eps": 1e-8},
            "recipe.optimizer.weight_decay is missing; recipe.optimizer.betas is [0.9]; it must be a list of 2, each a",
        ),
        (
            "recipe.lora",
            {"rank": 1, "alpha": 1, "targets": [""], "dropout": 2},
            "recipe.lora.targets[0] is ''; it must be a text; recipe.lora.dropout is 2; it must be a number from 0 to",
        ),
        ("runtime.activation", {"a": 1}, "runtime.activation.a is 1; it must be true or false"),
        ("runtime", None, "runtime is None; it must be an object"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(
    path: str, value: Any, words: str, former: dict[str, Any], tmp_path: Path
) -> None:
    asked = manifest(former["manifest"]["training_set"], tmp_path)
    put(path, value)(asked)
    with pytest.raises(ManifestError) as error:
        check_train(asked)
    assert str(error.value).startswith(f"manifest: {words}")
    assert "; manifest" not in str(error.value)


def test_weights_of_two_origins_are_refused(former: dict[str, Any], tmp_path: Path) -> None:
    weights = {"folder": "f", "weights_hash": "h"}
    asked = manifest(former["manifest"]["training_set"], tmp_path, weights=weights)
    assert check_train(asked).recipe.weights is not None
    asked["parent"] = weights | {"weights": "ema"}
    with pytest.raises(ManifestError, match="both name weights to start from; one of them is null"):
        check_train(asked)
    asked["recipe"]["lora"] = {"rank": 4, "alpha": 4, "targets": None, "dropout": 0}
    assert check_train(asked).parent is not None


def test_an_evaluation_reads_of_a_training_manifest_what_it_needs(former: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(former["manifest"]["training_set"], tmp_path, device="cpu", threads=3)
    evaluation = {"videos": 2, "sampling_steps": 3, "guidance": None, "fps": 8, "seed": 0}
    read = check_evaluate(asked | {"checkpoint": "c", "evaluation": evaluation})
    assert (read.recipe.model, read.runtime.threads, read.evaluation.decode_dtype) == ("tiny-dit", 3, "float32")
    del asked["runtime"], evaluation["seed"]
    asked["recipe"] = {"model": "tiny-dit"}
    with pytest.raises(ManifestError) as error:
        check_evaluate(asked | {"checkpoint": "c", "evaluation": evaluation})
    for words in ("recipe.family is missing", "recipe.objective is missing", "evaluation.seed is missing"):
        assert words in str(error.value)
