"""The configuration file: what it accepts, and what it says about every kind of mistake."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vid_assets.config import Config
from vid_assets.config.file import PRESET_FOLDER, load_config, parse_config
from vid_assets.encoding.settings import Bucket
from vid_assets.section import ConfigError

GOOD: dict[str, Any] = {
    "sources": [{"uri": "footage"}, {"uri": "more"}],
    "vae": {"source": "./vae"},
    "stages": [
        {"name": "short", "buckets": ["1x96x128", "9x96x128@8"], "image_share": 0.25, "steps": 3},
        {"name": "long", "buckets": ["17x96x128@8"], "steps": 3},
    ],
    "experiments": {"one": {}},
}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    change(data)
    return data


def complaints(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    """What is said about GOOD after `change`, a line for each mistake."""
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(change), name="my.yaml")
    first, *lines = str(caught.value).splitlines()
    assert first == "my.yaml:"
    return [line.removeprefix("  ") for line in lines]


def complaint(change: Callable[[dict[str, Any]], Any]) -> str:
    """The only thing that is said: one mistake makes one line."""
    (line,) = complaints(change)
    return line


def test_the_example_is_good():
    config = parse_config(GOOD)
    assert [stage.name for stage in config.stages] == ["short", "long"]
    assert [bucket.name for bucket in config.buckets] == ["17x96x128@8", "1x96x128", "9x96x128@8"]
    assert config.previous_stage("short") is None
    assert config.previous_stage("long") == config.stage("short")


@pytest.mark.parametrize(
    ("change", "path", "nearest", "allowed"),
    [
        (lambda d: d.update(polcy={}), "polcy", "policy", "duplicates"),
        (lambda d: d.update(policy={"luma_mim": 3}), "policy.luma_mim", "luma_min", "black_share_max"),
        (lambda d: d["sources"][1].update(inclde=["*"]), "sources[1].inclde", "include", "uri, include, exclude"),
        (lambda d: d["stages"][1].update(stepz=3), "stages[1].stepz", "steps", "checkpoint_every"),
        (lambda d: d["experiments"]["one"].update(sed=1), "experiments.one.sed", "seed", "caption_dropout"),
        (
            lambda d: d["experiments"]["one"].update(objective={"shft": 1}),
            "experiments.one.objective.shft",
            "shift",
            "time_sampling",
        ),
        (lambda d: d["vae"].update(sorce="x"), "vae.sorce", "source", "subfolder"),
        (lambda d: d.update(text_encoder={"source": "x", "famly": "t5"}), "text_encoder.famly", "family", "max_tokens"),
    ],
)
def test_unknown_keys_name_their_path_the_nearest_name_and_what_is_allowed(change, path, nearest, allowed):
    line = complaint(change)
    assert line.startswith(f"{path}: unknown key; did you mean {nearest!r}?")
    assert allowed in line.partition("Allowed here: ")[2]


def test_an_unknown_key_that_resembles_nothing_lists_what_is_allowed():
    assert complaint(lambda d: d["vae"].update(zzz=1)).startswith("vae.zzz: unknown key. Allowed here: source, ")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("vae"), "vae: this key is required"),
        (lambda d: d["stages"][1].pop("steps"), "stages[1].steps: this key is required"),
        (
            lambda d: d["stages"][1].update(steps=0),
            "stages[1].steps: Input should be greater than or equal to 1, got 0",
        ),
        (lambda d: d["stages"][0].update(steps=1.5), "stages[0].steps: Input should be a valid integer"),
        (lambda d: d.update(policy={"luma_min": "dark"}), "policy.luma_min: Input should be a valid number"),
        (lambda d: d.update(policy={"luma_min": 300}), "policy.luma_min: Input should be less than or equal to 255"),
        (lambda d: d.update(policy={"luma_min": float("nan")}), "policy.luma_min: "),
        (lambda d: d.update(policy=None), "policy: Input should be a mapping of keys to values, got None"),
        (lambda d: d.update(sources="footage"), "sources: Input should be a list, got 'footage'"),
        (lambda d: d.update(sources=["footage"]), "sources[0]: Input should be a mapping of keys to values"),
        (lambda d: d.update(sources=[{"uri": ""}]), "sources[0].uri: "),
        (lambda d: d["sources"][0].update(include="*.mp4"), "sources[0].include: Input should be a list, got '*.mp4'"),
        (lambda d: d.update(sources=[]), "sources: at least 1 is needed"),
        (lambda d: d.update(stages=[]), "stages: at least 1 is needed"),
        (lambda d: d.update(experiments={"Big One": {}}), "experiments.Big One: a name has lower-case letters"),
        (lambda d: d["stages"].append(GOOD["stages"][0]), "stages: names must differ, got short, long, short"),
        (
            lambda d: d["vae"].update(family="hunyuan-video"),
            "vae.family: Input should be 'hunyuan_video', 'cogvideox', 'wan'",
        ),
        (lambda d: d["vae"].update(source=""), "vae.source: String should have at least 1 character, got ''"),
        (lambda d: d["vae"].update(family="svd", tiling=True), "vae: the VAE of svd cannot encode in tiles"),
        (
            lambda d: d["vae"].update(settings={"tile_size": 64}),
            "vae: the VAE of hunyuan_video has no setting 'tile_size' to change; it has tile_sample_min_height",
        ),
        (
            lambda d: d["vae"].update(settings={"tile_sample_min_height": 100}),
            "vae: tile_sample_min_height is 100; the VAE of hunyuan_video takes multiples of 8 there",
        ),
    ],
)
def test_wrong_values_say_where_and_what_is_allowed(change, expected):
    assert complaint(change).startswith(expected)


def test_a_wrong_choice_names_the_nearest():
    line = complaint(lambda d: d["vae"].update(dtype="float23"))
    assert "'float32', 'bfloat16' or 'float16'" in line
    assert line.endswith("did you mean 'float32'?")


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        ("9x96", "'9x96' is no bucket; write frames x height x width @ fps, such as 17x96x128@8 or 1x96x128"),
        ("nonsense", "'nonsense' is no bucket"),
        ("1x96x128@8", "an image bucket has no frame rate; write 1x96x128"),
        ("9x96x128", "a video bucket needs its frame rate, such as 9x96x128@24"),
        ("9x96x128@0", "a video bucket needs its frame rate, such as 9x96x128@24"),
        ("10x96x128@8", "10 frames: the VAE of hunyuan_video takes 4k+1 frames; the neighbours are 9 and 13"),
        ("0x96x128@8", "a bucket has at least 1 frame of 8x8 pixels"),
        ("9x90x128@8", "height and width must be multiples of 16"),
        ("9x0x128@8", "a bucket has at least 1 frame of 8x8 pixels"),
    ],
)
def test_bad_buckets_say_what_to_write(bucket, expected):
    line = complaint(lambda d: d["stages"][1].update(buckets=[bucket]))
    assert line.startswith("stages[1].buckets: ")
    assert expected in line


@pytest.mark.parametrize("text", ["1x96x128", "9x96x128@8", "17x96x128@23.976"])
def test_a_bucket_is_named_as_it_is_written(text):
    assert Bucket.parse(text).name == text


def test_a_bucket_written_in_two_ways_is_listed_twice():
    assert "listed twice" in complaint(lambda d: d["stages"][1].update(buckets=["9x96x128@8", "9x96x128@8.0"]))


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        (["9x96x128@8"], 0.5, "image_share is 0.5, but no bucket has one frame; add one such as 1x96x128"),
        (["1x96x128"], 0.5, "image_share is 0.5, but no bucket is a video"),
        (["1x96x128", "9x96x128@8"], 0, "an image bucket is listed, but image_share is 0"),
        (["1x96x128", "9x96x128@8"], 1, "a video bucket is listed, but image_share is 1"),
        (["9x96x128@8"], 1.5, "less than or equal to 1"),
    ],
)
def test_the_image_share_must_fit_the_buckets(buckets, share, expected):
    line = complaint(lambda d: d["stages"][1].update(buckets=buckets, image_share=share))
    assert line.startswith("stages[1]")
    assert expected in line


def test_several_mistakes_are_told_at_once_and_no_mistake_twice():
    def change(data: dict[str, Any]) -> None:
        data["polcy"] = {}
        data["stages"][0]["steps"] = 0
        data["stages"][1]["buckets"] = ["9x96"]

    assert [line.split(":")[0] for line in complaints(change)] == ["stages[0].steps", "stages[1].buckets", "polcy"]


@pytest.mark.parametrize(
    ("family", "bucket", "expected"),
    [
        ("cogvideox", "13x96x128@8", "13 frames: the VAE of cogvideox takes 8k+1 frames; the neighbours are 9 and 17"),
        ("svd", "14x96x128@8", "height and width must be multiples of 64 for svd (8x VAE, 8x patches)"),
        ("image_kl", "17x96x128@8", "17 frames: the VAE of image_kl takes stills only, one frame each"),
    ],
)
def test_a_bucket_must_fit_the_latent_space(family, bucket, expected):
    def change(data: dict[str, Any]) -> None:
        data["vae"]["family"], data["experiments"] = family, {}
        data["stages"] = [{"name": "only", "buckets": [bucket], "steps": 3}]

    line = complaint(change)
    assert line.startswith(f"stages[0].buckets: '{bucket}': ")
    assert expected in line


def test_without_experiments_any_latent_space_will_do():
    stages = [{"name": "only", "buckets": ["14x128x192@8"], "steps": 3}]
    assert parse_config(GOOD | {"vae": {"family": "svd", "source": "x/y"}, "experiments": {}, "stages": stages})


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_missing_file_says_which_variable_to_set(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; set VID_ASSETS_CONFIG"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["a: [1, 2", "\tsources: 1", "a: b: c"])
def test_bad_yaml_names_the_file_and_the_line(tmp_path, text):
    with pytest.raises(ConfigError, match=r"my\.yaml: not valid YAML:(.|\n)*line 1"):
        load_config(write(tmp_path, text))


def test_text_that_is_no_utf8_is_not_valid_yaml(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"sources: \xff\xfe")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "- a list", "text"])
def test_a_file_that_is_no_mapping_lists_the_sections(tmp_path, text):
    with pytest.raises(ConfigError, match=r"must be a mapping of sections \(sources, batching, "):
        load_config(write(tmp_path, text))


def test_the_variable_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("VID_ASSETS_CONFIG", str(write(tmp_path, yaml.safe_dump(GOOD))))
    assert [Path(source.uri).name for source in load_config().sources] == ["footage", "more"]


def test_environment_variables_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("FOOTAGE_DISK", "/mnt/disk")
    monkeypatch.setenv("VID_ASSETS_HOME", str(tmp_path))
    config = parse_config(
        changed(lambda d: d.update(sources=[{"uri": "${FOOTAGE_DISK}/a"}, {"uri": "${VID_ASSETS_HOME}/b"}]))
    )
    assert [source.uri for source in config.sources] == ["/mnt/disk/a", str(tmp_path / "b")]


def test_a_variable_that_is_not_set_names_the_key(monkeypatch):
    monkeypatch.delenv("FOOTAGE_DISK", raising=False)
    with pytest.raises(ConfigError, match=r"my\.yaml\.sources\[1\]\.uri: the environment variable FOOTAGE_DISK is not"):
        parse_config(changed(lambda d: d["sources"][1].update(uri="${FOOTAGE_DISK}/a")), name="my.yaml")


def test_relative_paths_start_at_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "models" / "vae").mkdir(parents=True)
    data = changed(lambda d: d["vae"].update(source="models/vae"))
    data["sources"] += [{"uri": "/absolute"}, {"uri": "s3://bucket/footage"}, {"uri": "../beside"}]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(write(folder, yaml.safe_dump(data)))
    assert [source.uri for source in config.sources] == [
        str(folder / "footage"), str(folder / "more"), "/absolute", "s3://bucket/footage", str(tmp_path / "beside"),
    ]  # fmt: skip
    assert config.vae.source == str(folder / "models" / "vae")


def test_weights_that_are_no_folder_stay_a_repository_of_the_hub(tmp_path):
    config = parse_config(changed(lambda d: d["vae"].update(source="hunyuanvideo-community/HunyuanVideo")), tmp_path)
    assert config.vae.source == "hunyuanvideo-community/HunyuanVideo"
    assert parse_config(GOOD, tmp_path).vae.source == str(tmp_path / "vae"), "with ./ it is a folder, there or not"


@pytest.mark.parametrize("section", ["text_encoder", "pooled_text_encoder", "image_encoder"])
def test_the_weights_of_every_encoder_start_from_the_folder_of_the_file(section, tmp_path):
    config = parse_config(GOOD | {"experiments": {}, section: {"source": "./encoder", "subfolder": "two"}}, tmp_path)
    assert getattr(config, section).source == str(tmp_path / "encoder")


def test_a_template_has_one_place_for_the_caption():
    for template in ("describe it", "{} and {}"):
        line = complaint(lambda d, t=template: d.update(text_encoder={"source": "x", "family": "llama", "template": t}))
        assert line.startswith("text_encoder.template: a template has {} once, where the caption goes, or is the name")


def test_a_named_template_is_for_the_tokens_of_its_own_family():
    line = complaint(lambda d: d.update(text_encoder={"source": "x", "family": "t5", "template": "hunyuan_video"}))
    assert line.startswith("text_encoder: template hunyuan_video counts the tokens of that model's llama, but")


def test_the_demo_preset_loads(monkeypatch):
    monkeypatch.delenv("VID_ASSETS_CONFIG", raising=False)
    config = load_config()
    assert [stage.name for stage in config.stages] == ["short", "long"]
    assert config == load_config(PRESET_FOLDER / "demo.yaml")
    assert "tiny" in (config.vae.note or "")


@pytest.mark.parametrize("section", [name for name in Config.model_fields if name not in GOOD])
def test_every_other_section_may_be_left_out_or_empty(section):
    if section.endswith("_encoder"):
        assert getattr(parse_config(GOOD), section) is None
    else:
        assert getattr(parse_config(GOOD), section) == getattr(parse_config(GOOD | {section: {}}), section)


def test_every_key_is_listed_as_it_is_declared():
    from vid_assets_tests.configuration import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m vid_assets_tests.configuration`"
