"""What conditions samples beside their latents: which embeddings there are, and which a change computes again.

One home with a text encoder, a pooled one and an image encoder goes through the changes, one after another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vid_assets_tests.harness import Home, work_of

BATCH = "b00001"
TEXTS = {"one.mp4": "a red shape turns", "two.mp4": "two shapes", "still.png": None}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole small CLIP with random weights: `good`, and `broken`, whose states are not finite."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from vid_assets_tests.unit.model.test_text import bytes_tokenizer

    torch.manual_seed(0)
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": 258, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config=narrow | tokens | {"max_position_embeddings": 40},
        vision_config=narrow | {"image_size": 16, "patch_size": 8, "projection_dim": 16},
        projection_dim=16,
    )
    folder, model = tmp_path_factory.mktemp("clip"), CLIPModel(config)
    for name in ("good", "broken"):
        model.save_pretrained(folder / name)
        bytes_tokenizer("<s>", "<e>").save_pretrained(folder / name)
        levels = {"image_mean": [0.5] * 3, "image_std": [0.3] * 3}
        (folder / name / "preprocessor_config.json").write_text(json.dumps(levels))
        torch.nn.init.constant_(model.text_model.final_layer_norm.weight, float("inf"))
    return folder


def say(made: Home, texts: dict[str, str | None]) -> None:
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in texts.items()]
    (made.footage / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: Path, clips: Path, clip: Path) -> Iterator[Home]:
    import shutil

    home = Home(
        tmp_path_factory.mktemp("conditioned"),
        models,
        pooled_text_encoder={"source": str(clip / "good"), "max_tokens": 20},
        image_encoder={"source": str(clip / "good")},
    )
    for name in TEXTS:
        shutil.copy(clips / name, home.footage / name)
    say(home, TEXTS)
    home.run()
    yield home
    home.instance.dispose()


def texts(made: Home) -> dict[str, str | None]:
    """What the listing says now."""
    lines = (made.footage / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["file_name"]: record["text"] for record in map(json.loads, lines)}


def members(made: Home) -> list[dict[str, Any]]:
    """The members of the training set of the first stage, as it is now."""
    made.materialize(["training_set/short"])
    digest = made.metadata["training_set/short"]["digest"]
    return made.rows("training_set_members", f"digest = '{digest}'")


def test_every_sample_has_the_embeddings_that_it_can_have(made: Home) -> None:
    from model.data.training_set import TrainingSet
    from model.manifest import TrainingSetSpec
    from vid_assets.assets.train.manifest import training_set_spec

    found = members(made)
    assert all(row["image_key"] for row in found)
    captioned = [row for row in found if row["caption_key"]]
    assert {bool(row["embedding_key"]) and bool(row["pooled_key"]) for row in captioned} == {True}
    assert {row["embedding_key"] for row in found if row not in captioned} == {None}, "no caption is a valid state"

    spec = TrainingSetSpec(**training_set_spec(work_of(made.project, "checkpoint/short", "one")))
    batch = TrainingSet(spec, 16).read([captioned[0]["sample_id"]])
    caption = next(row["caption"] for row in made.rows("captions") if row["caption_key"] == captioned[0]["caption_key"])
    shapes = [tuple(states[0].shape) for states in map(batch.states.get, ("text", "pooled", "image"))]
    assert shapes == [(len(caption) + 1, 64), (1, 32), (1, 16)]


def test_windows_that_begin_alike_share_the_embedding_of_their_first_frame(made: Home) -> None:
    frames = {row["sample_id"]: row["image_key"] for row in made.rows("first_frames")}
    kept = {row["row_id"]: frames[row["sample_id"]] for row in made.rows("samples")}
    by_bucket = {tuple(row_id.split("/")[-2:]): key for row_id, key in kept.items() if kept[row_id]}
    assert by_bucket["5x32x48@8", "0"] == by_bucket["9x32x48@8", "0"] != by_bucket["5x32x48@8", "1"]
    assert set(frames.values()) == {row["key"] for row in made.rows("embeddings", "kind = 'image'")}


def test_a_changed_line_embeds_the_caption_of_its_file_alone(made: Home) -> None:
    say(made, {"two.mp4": "two other shapes"} | {name: text for name, text in TEXTS.items() if name != "two.mp4"})
    assert made.run() == {"source_files": 1, "captions[b00001]": 1, "text_embeddings[b00001]": 2}
    assert {row["origin"] for row in made.rows("captions", "caption IS NOT NULL")} == {"metadata.jsonl"}


def test_a_file_that_is_renamed_in_its_listing_too_is_nothing_new(made: Home) -> None:
    (made.footage / "two.mp4").rename(made.footage / "moved.mp4")
    say(made, {"moved.mp4" if name == "two.mp4" else name: text for name, text in texts(made).items()})
    assert made.run() == {"source_files": 2}, "the row of the old name and that of the new one"


def test_lines_that_contradict_each_other_are_an_error_of_their_file(made: Home) -> None:
    before = texts(made)
    with (made.footage / "metadata.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '\n{"file_name": "one.mp4", "text": "quite another"}\n{"file_name": "gone.mp4", "text": "nothing"}\n'
        )
    made.scan()
    assert [*made.metadata["source_files"]["captions without a file"].values()] == [[f"{made.footage}/gone.mp4"]]
    assert made.materialize(["captions"], BATCH) == {"captions[b00001]": 1}
    (row,) = made.rows("captions", "error IS NOT NULL")
    listing = f"{made.footage}/metadata.jsonl"
    assert row["caption"] is None and f'{listing} line 4 says "quite another"' in row["error"]
    assert made.metadata["captions[b00001]"]["unreadable"] == [row["error"]]
    say(made, before)
    assert made.run() == {"source_files": 1, "captions[b00001]": 1}, "the embedding is still there"


def test_every_setting_of_an_encoder_is_in_the_key_and_how_the_work_is_cut_is_not(made: Home) -> None:
    from vid_assets.assets.encode.text_embeddings import caption_keys, text_sources

    def key(section: str = "text_encoder", kind: str = "text", **change: Any) -> str | None:
        config = made.project.config
        other = config.model_copy(update={section: getattr(config, section).model_copy(update=change)})
        return caption_keys(made.project.local, text_sources(other), kind)("a caption")

    clip = made.config["pooled_text_encoder"]["source"]
    changes: list[dict[str, Any]] = [
        {}, {"max_tokens": 63}, {"dtype": "bfloat16"}, {"skip_layers": 1}, {"template": "say {}"}, {"family": "umt5"},
        {"source": clip},
    ]  # fmt: skip
    assert len({key(**change) for change in changes}) == len(changes)
    same = {"family": "clip", "source": clip, "max_tokens": 20}
    assert key(**same) != key("pooled_text_encoder", "pooled", max_tokens=20), (
        "states of a text are not its pooled state"
    )
    assert key("encoding", flush_rows=99, batch_size=3) == key()


def test_captions_that_were_cut_are_counted_and_their_clips_named(made: Home) -> None:
    made.change(pooled_text_encoder={"max_tokens": 14})
    assert made.run() == {"text_embeddings[b00001]": 2}, "the states of the other encoder stay"
    facts = made.metadata["text_embeddings[b00001]"]
    (clip,) = [row["clip_id"] for row in made.rows("captions", f"caption = '{TEXTS['one.mp4']}'")]
    assert (facts["clips with a cut caption"], facts["pooled clips with a cut caption"]) == (0, 2)
    assert clip in facts["pooled cut captions"]
    cut = [row["cut_tokens"] for row in made.rows("embeddings", "kind = 'pooled'") if row["cut_tokens"]]
    assert max(cut) == len(TEXTS["one.mp4"]) + 2 - 14


def test_another_image_encoder_embeds_first_frames_alone(made: Home) -> None:
    made.change(image_encoder={"dtype": "bfloat16"})
    frames = {row["image_key"] for row in made.rows("first_frames")}
    assert made.run() == {"image_embeddings[b00001]": len(frames)}
    assert {row["image_key"] for row in made.rows("first_frames")}.isdisjoint(frames)
    assert {row["dtype"] for row in made.rows("embeddings", "kind = 'image'")} == {"float32", "bfloat16"}


def test_first_frames_of_latents_that_are_outdated_are_not_embedded(made: Home) -> None:
    before = made.rows("first_frames")
    made.change(encoding={"dtype": "bfloat16"})
    forced = {"ops": {"image_embeddings": {"config": {"force": True}}}}
    with pytest.raises(
        dg.Failure, match=r"encoded from what has changed since\. Materialize latents of this batch first"
    ):
        made.materialize(["image_embeddings"], BATCH, forced)
    assert made.rows("first_frames") == before
    made.config["encoding"].pop("dtype")


def test_another_vae_embeds_no_first_frame_again(made: Home, tmp_path: Path) -> None:
    from model.tiny.models import save_tiny_vae

    count = len(made.rows("first_frames"))
    made.change(vae={"source": str(save_tiny_vae(tmp_path / "vae", seed=1))})
    counts = made.run()
    assert counts.pop("latents[b00001]") == count
    assert counts == {"vae": 1}
    assert {row["sample_id"] for row in made.rows("samples")} == {row["sample_id"] for row in made.rows("first_frames")}


def test_states_that_are_not_finite_are_failed_rows_and_no_training_data(made: Home, clip: Path) -> None:
    whole = len(members(made))
    good = made.config["pooled_text_encoder"]["source"]
    made.change(pooled_text_encoder={"source": str(clip / "broken")})
    assert made.materialize(["text_embeddings"], BATCH) == {"text_embeddings[b00001]": 2}
    facts = made.metadata["text_embeddings[b00001]"]
    assert facts["pooled failed"] == 2 and "not finite" in facts["pooled errors"][0]
    left = members(made)
    assert 0 < len(left) < whole and not any(row["caption_key"] for row in left)
    left_out = made.metadata["training_set/short"]["left out, an embedding failed"]
    assert left_out == {"pooled": whole - len(left)}
    assert made.materialize(["text_embeddings"], BATCH) == {"text_embeddings[b00001]": 2}, "failed rows are tried again"
    made.change(pooled_text_encoder={"source": good})
    assert made.materialize(["text_embeddings"], BATCH) == {"text_embeddings[b00001]": 0}
    assert len(members(made)) == whole
