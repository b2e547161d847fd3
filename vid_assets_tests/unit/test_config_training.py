"""What the configuration says about training: defaults that follow from the preset, and every combination refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from model.denoisers import PRESETS
from vid_assets.config import Config
from vid_assets.config.experiments import Experiment
from vid_assets.config.file import parse_config
from vid_assets_tests.unit.test_config import GOOD, changed, complaint

Change = Callable[[dict[str, Any]], Any]


def of(*stages: dict[str, Any], family: str = "hunyuan_video", **experiment: Any) -> Change:
    """A change to the example: another recipe, in the latent space of `family`, on these stages."""

    def change(data: dict[str, Any]) -> None:
        data["vae"]["family"] = family
        data["experiments"] = {"one": experiment}
        data["stages"] = list(stages) or [{"name": "only", "buckets": ["17x128x128@8"], "steps": 3}]

    return change


def stage(**keys: Any) -> Change:
    """A change to the first stage of the example, which has an image bucket and a video bucket."""
    return lambda data: data["stages"][0].update(keys)


def parsed(change: Change) -> Config:
    return parse_config(changed(change))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_brings_the_objective_that_it_was_trained_with(name):
    preset = PRESETS[name]
    objective = Experiment(model=name).objective.model_dump()
    assert preset.objective.model_dump().items() <= objective.items()
    assert Experiment(model=name, objective=objective).objective.model_dump() == objective


def test_what_an_objective_leaves_out_is_the_presets():
    assert parsed(of(objective={"logit_mean": 0.5})).experiments["one"].objective.model_dump() == {
        "name": "flow_matching", "shift": 3.0, "time_sampling": "logit_normal", "logit_mean": 0.5, "logit_std": 1.0,
    }  # fmt: skip
    assert parsed(of(objective={"shift": "dynamic"})).experiments["one"].objective.shift == "dynamic"


def test_whole_numbers_of_an_objective_stay_whole_in_what_is_hashed_of_a_recipe():
    settings = parsed(of(objective={"shift": 5, "logit_std": 2.0})).experiments["one"].settings
    assert json.dumps(settings["objective"]) == (
        '{"name": "flow_matching", "shift": 5, "time_sampling": "logit_normal", "logit_mean": 0.0, "logit_std": 2.0}'
    )


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"name": "edm"}, ".name: tiny-dit takes the objective flow_matching alone, not 'edm'"),
        ({"shift": 0}, ".shift: must be above 0 or dynamic, not 0"),
        ({"p_mean": 0}, ".p_mean: unknown key; did you mean 'logit_mean'? Allowed here: name, shift, "),
        ({"time_sampling": "uniform "}, ".time_sampling: 'uniform ': known are logit_normal, uniform"),
        ("flow_matching", ": must be a mapping of keys to values, got 'flow_matching'"),
    ],
)
def test_a_wrong_objective_is_named_with_what_is_allowed(objective, expected):
    assert complaint(of(objective=objective)).startswith(f"experiments.one.objective{expected}")


def test_an_unknown_model_is_the_only_mistake():
    line = complaint(of(model="tiny-dt", objective={"shift": 1}))
    assert line.startswith("experiments.one.model: ") and line.endswith("did you mean 'tiny-dit'?")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            of(model="wan-tiny"),
            "experiments.one.model: wan-tiny needs latents of wan, but this home's vae.family is hu",
        ),
        (of(lora={"rank": 4}), "experiments.one.lora: adapters need weights to adapt; set experiments.one.weights"),
        (of(lora={"rank": 0}, weights={"source": "x/y"}), "experiments.one.lora.rank: Input should be greater than or"),
        (of(optimizer={"name": "adam"}), "experiments.one.optimizer.name: Input should be 'adamw', 'adamw_fused' or"),
        (of(optimizer={"betas": [0.9, 1]}), "experiments.one.optimizer.betas[1]: Input should be less than 1"),
        (of(precision="bf32"), "experiments.one.precision: Input should be 'fp32', 'bf16' or 'fp16', got 'bf32'; did"),
        (
            of(image_conditioning="first_frame"),
            "experiments.one.image_conditioning: first_frame needs a VAE whose latent of a still is a video's first "
            "latent (wan, ltx_video, svd, image_kl); that of hunyuan_video is not one",
        ),
        (
            of(family="svd", model="svd-tiny", image_conditioning="none"),
            "experiments.one.image_conditioning: svd-tiny is always given the first frame; use first_frame",
        ),
        (of(family="svd", model="svd"), "experiments.one.model: svd reads the embedding of the first frame; add the"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(change, expected):
    assert complaint(change).startswith(expected)


def test_the_first_frame_is_given_by_the_preset_or_by_choice():
    assert parsed(of()).experiments["one"].conditioning == "none"
    assert parsed(of(family="svd", model="svd-tiny")).experiments["one"].conditioning == "first_frame"
    chosen = parsed(of(family="wan", model="wan-tiny", image_conditioning="first_frame"))
    assert chosen.experiments["one"].conditioning == "first_frame"


@pytest.mark.parametrize(
    ("preset", "sections", "expected"),
    [
        ({}, {"text_encoder": {"family": "umt5", "max_tokens": 9}}, "needs text states of t5, but text_encoder.family"),
        ({"text_family": None}, {"text_encoder": {}}, "reads no text, but text_encoder is set"),
        ({"text_tokens": 64}, {"text_encoder": {"max_tokens": 65}}, "reads 64 states of a text at most; set it to 64"),
        ({"pooled": True}, {"text_encoder": {"max_tokens": 9}}, "together; add the section pooled_text_encoder"),
        ({"pooled": True}, {"pooled_text_encoder": {}}, "together; add the section text_encoder"),
        ({"image_states": True}, {}, "reads the embedding of the first frame; add the section image_encoder"),
    ],
)
def test_a_preset_and_the_encoders_must_fit(monkeypatch, preset, sections, expected):
    monkeypatch.setitem(PRESETS, "tiny-dit", dataclasses.replace(PRESETS["tiny-dit"], **preset))
    line = complaint(lambda data: data.update({name: {"source": "x/y"} | keys for name, keys in sections.items()}))
    assert "experiments.one.model: tiny-dit " in line
    assert expected in line


def test_without_encoders_there_are_no_texts_to_fit(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny-dit", dataclasses.replace(PRESETS["tiny-dit"], pooled=True, text_tokens=1))
    assert parse_config(GOOD).text_encoder is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (stage(batch_size=0), "stages[0].batch_size: must be a whole number of at least 1, or such a number for each"),
        (stage(batch_size={"9x96x128@8": 1.5}), "stages[0].batch_size: must be a whole number of at least 1, or such"),
        (stage(batch_size={"1x96x128": 4}), "stages[0]: batch_size names 1x96x128; it must name all of 9x96x128@8"),
        (
            stage(micro_batch={"1x96x128": 4}),
            "stages[0]: micro_batch names 1x96x128; it must name all of 1x96x128, 9x9",
        ),
        (stage(mix={"1x96x128": 1}), "stages[0]: mix names 1x96x128; it must name all of 1x96x128, 9x96x128@8"),
        (stage(mix={"1x96x128": 0}), "stages[0].mix.1x96x128: Input should be greater than 0, got 0"),
        (stage(mix={"9x96": 1}), "stages[0].mix: '9x96' is no bucket; write frames x height x width @ fps"),
        (stage(schedule={"final_share": 0.1}), "stages[0].schedule: final_share is for cosine and linear"),
        (stage(schedule={"warmup_steps": 21}, steps=20), "stages[0]: schedule.warmup_steps is 21, but steps is 20"),
        (
            stage(schedule={"name": "cosin"}),
            "stages[0].schedule.name: Input should be 'constant', 'cosine' or 'linear'",
        ),
        (stage(activation="blocks"), "stages[0].activation: must be auto, none, diffusers, temporal, attention, block"),
        (stage(activation={"*.conv": "yes"}), "stages[0].activation: must be auto, none, diffusers, temporal, "),
        (
            lambda data: data.update(train={"processes": 3}),
            "stages[0].batch_size: 4 samples do not divide among train.processes: 3; use a multiple of 3",
        ),
        (lambda data: data.update(train={"memory_gb": 0}), "train.memory_gb: Input should be greater than 0"),
        (lambda data: data.update(evaluation={"guidance": -1}), "evaluation.guidance: Input should be greater than or"),
    ],
)
def test_a_stage_or_a_run_that_cannot_be_is_refused(change, expected):
    assert complaint(change).startswith(expected)


def test_eight_bit_blocks_cannot_be_cut_apart():
    def change(data: dict[str, Any], **train: Any) -> None:
        data.update(train=train)
        data["experiments"]["tiny"] = {"model": "tiny-dit", "optimizer": {"name": "adamw_8bit"}}

    line = complaint(lambda data: change(data, engine="fsdp2", processes=2))
    assert line.startswith("experiments.tiny.optimizer.name: adamw_8bit works in blocks that train.engine: fsdp2 would")
    for train in ({"engine": "ddp", "processes": 2}, {"engine": "fsdp2", "processes": 1}):
        assert parsed(lambda data, train=train: change(data, **train)).experiments["tiny"]


def test_values_by_bucket_are_named_as_the_bucket_is():
    config = parsed(stage(batch_size={"9x96x128@8.0": 6}, mix={"9x96x128@8": 3, "1x96x128": 1}, micro_batch=2))
    short, long = config.stages
    assert (short.batch_size, short.batch_sizes) == ({"9x96x128@8": 6}, {"9x96x128@8": 6})
    assert short.mix == {"1x96x128": 1.0, "9x96x128@8": 3.0}
    assert (short.micro_batch, long.micro_batch, long.mix) == (2, None, None)
    assert long.batch_sizes == {"17x96x128@8": 4}


def test_pretrained_weights_start_from_the_folder_of_the_file(tmp_path):
    sources = {"one": "./mine", "two": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"}
    experiments = {name: {"weights": {"source": source}} for name, source in sources.items()}
    found = parse_config(GOOD | {"experiments": experiments}, tmp_path).experiments
    assert found["one"].weights.source == str(tmp_path / "mine")
    assert found["two"].weights.source == sources["two"]


def test_an_evaluation_asks_for_no_tiles_of_a_vae_that_has_none():
    def change(data: dict[str, Any]) -> None:
        of(family="svd", model="svd-tiny")(data)
        data["evaluation"] = {"decode_tiling": True}

    assert complaint(change) == "evaluation.decode_tiling: the VAE of svd cannot work in tiles; use false"
