"""The text encoder backends, each on a small one of the real class with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.encoders.text import TEXT_CODE_VERSION, TextError, encode_texts, load_text_encoder
from model.tiny.models import save_tiny_text_encoder
from model.weights import WeightsError, text_encoder_hash, weights_hash

TEXTS = ["a cat", "a dog", "waves on a beach, in the evening"]
TEMPLATE = "<s>system\n{}<e>"

# A change of the algorithm moves these numbers and must bump TEXT_CODE_VERSION, which then needs numbers of its own.
GOLDEN = {"2": [0.790825, -0.644868, 1.987394, 0.370052]}


def bytes_tokenizer(begins: str | None, ends: str | None) -> Any:
    """A byte-level BPE without merges, which begins and ends every text as CLIP's or LLaMA's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<e>"]
    vocab = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single = " ".join(filter(None, [begins, "$A", ends]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocab[token]) for token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<e>", pad_token="<e>")


def save(folder: Path, *parts: Any) -> Path:
    for part in parts:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> dict[str, Path]:
    """A folder of each family; CLIP's and LLaMA's text encoders are parts of whole models, as they are published."""
    from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("encoders")
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    tokens = {"vocab_size": 258, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    clip = CLIPConfig(
        text_config=narrow | tokens | {"max_position_embeddings": 40},
        vision_config=narrow | {"image_size": 8, "patch_size": 4},
        projection_dim=16,
    )
    llama = LlamaConfig(**narrow, **tokens, num_key_value_heads=2, max_position_embeddings=128)
    umt5 = UMT5Config(vocab_size=258, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4)
    return {
        "t5": text_folder,
        "umt5": save(place / "umt5", UMT5EncoderModel(umt5), bytes_tokenizer(None, "<e>")),
        "clip": save(place / "clip", CLIPModel(clip), bytes_tokenizer("<s>", "<e>")),
        "llama": save(place / "llama", LlamaForCausalLM(llama), bytes_tokenizer("<s>", None)),
    }


def reference(folder: Path, family: str) -> Any:
    """The encoder as its users load it, without this project's code."""
    import transformers

    names = {"t5": "T5EncoderModel", "umt5": "UMT5EncoderModel", "clip": "CLIPTextModel", "llama": "LlamaModel"}
    return getattr(transformers, names[family]).from_pretrained(folder).eval()


@pytest.mark.parametrize("family", ["t5", "umt5", "clip", "llama"])
def test_states_are_those_of_a_padded_batch_without_its_padding(family: str, folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(folders[family], family, max_tokens=36)
    encoded = encode_texts(encoder, TEXTS)
    padded = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = reference(folders[family], family)(**padded).last_hidden_state
    for one, whole, mask in zip(encoded, states, padded["attention_mask"], strict=True):
        assert one.cut_tokens == 0 and one.states.shape == (int(mask.sum()), encoder.dim)
        torch.testing.assert_close(one.states, whole[: len(one.states)], atol=2e-5, rtol=1e-4)
    assert encode_texts(encoder, []) == []


def test_the_numbers_of_the_tiny_encoder(text_folder: Path) -> None:
    (cat,) = encode_texts(load_text_encoder(text_folder), TEXTS[:1])
    np.testing.assert_allclose(cat.states[2, :4], GOLDEN[TEXT_CODE_VERSION], atol=2e-3)


def test_a_long_text_is_cut_keeps_its_end_token_and_says_how_much_is_gone(folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(folders["clip"], "clip", max_tokens=8)
    short, long = encode_texts(encoder, ["short", "much longer than that"])
    assert (len(short.states), short.cut_tokens) == (7, 0)
    assert (len(long.states), long.cut_tokens) == (8, 15)
    (ended,) = encode_texts(encoder, ["much l"])
    torch.testing.assert_close(long.states, ended.states)


def test_the_pooled_state_is_that_of_the_end_token(folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(folders["clip"], "clip", max_tokens=36, pooled=True)
    encoded = encode_texts(encoder, TEXTS)
    padded = encoder.tokenizer(TEXTS, padding="max_length", max_length=36, return_tensors="pt")
    with torch.no_grad():
        pooled = reference(folders["clip"], "clip")(padded["input_ids"]).pooler_output  # as HunyuanVideo: no mask
    assert [one.states.shape for one in encoded] == [(1, 32)] * 3
    torch.testing.assert_close(torch.cat([one.states for one in encoded]), pooled, atol=2e-5, rtol=1e-4)


def test_a_template_surrounds_the_caption_and_its_beginning_is_cropped(folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(folders["llama"], "llama", max_tokens=36, template=TEMPLATE, skip_layers=2)
    ids = encoder.tokenizer([TEMPLATE.replace("{}", text) for text in TEXTS], padding=True, return_tensors="pt")
    head = len(encoder.tokenizer("<s>system\n")["input_ids"])
    with torch.no_grad():
        output = reference(folders["llama"], "llama")(**ids, output_hidden_states=True)
    for one, states, mask in zip(encode_texts(encoder, TEXTS), output.hidden_states[-3], ids["attention_mask"]):
        torch.testing.assert_close(one.states, states[head : int(mask.sum())], atol=2e-5, rtol=1e-4)
    plain = load_text_encoder(folders["llama"], "llama", max_tokens=36)
    bare, surrounded = (encode_texts(one, ["a cat"])[0].states for one in (plain, encoder))
    assert not torch.allclose(bare[1:], surrounded[:5])


def test_max_tokens_does_not_count_the_beginning_of_the_template(folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(folders["llama"], "llama", max_tokens=5, template=TEMPLATE)
    (cut,) = encode_texts(encoder, ["longer than five"])
    assert (len(cut.states), cut.cut_tokens) == (5, len("longer than five") + 1 - 5)


def test_the_template_of_hunyuan_video_is_the_one_of_its_pipeline(folders: dict[str, Path]) -> None:
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

    with pytest.raises(WeightsError, match="128 positions"):  # its 95 tokens and 64 of the caption are more
        load_text_encoder(folders["llama"], "llama", max_tokens=64, template="hunyuan_video")
    encoder = load_text_encoder(folders["llama"], "llama", max_tokens=32, template="hunyuan_video")
    assert encoder.template.crop == DEFAULT_PROMPT_TEMPLATE["crop_start"]
    assert encoder.template.head + "{}" + encoder.template.tail == DEFAULT_PROMPT_TEMPLATE["template"]


def test_a_template_that_shares_a_token_with_the_caption_is_refused() -> None:
    from model.encoders.text import Template, TextEncoder

    def merging(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [hash(word) % 1000 for word in text.split(" ")]}

    encoder = TextEncoder(None, merging, Template("say:", "", 1, tuple(merging("say:")["input_ids"])), 20, 0, False)
    with pytest.raises(TextError, match="share a token"):
        encode_texts(encoder, ["hello"])


def test_states_are_kept_in_the_dtype_of_the_encoder(folders: dict[str, Path]) -> None:
    (exact,) = encode_texts(load_text_encoder(folders["umt5"], "umt5"), TEXTS[:1])
    (half,) = encode_texts(load_text_encoder(folders["umt5"], "umt5", dtype="bfloat16"), TEXTS[:1])
    assert half.states.dtype == torch.bfloat16
    assert 0 < (half.states.float() - exact.states).abs().mean() < 0.05


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"family": "umt5"}, "type clip, not of the family umt5"),
        ({"family": "clip", "max_tokens": 77}, "max_tokens is 77, but this encoder has 40 positions"),
        ({"family": "clip", "max_tokens": 30, "skip_layers": 3}, "skip_layers is 3, but this encoder has 3 layers"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(settings: dict, message: str, folders: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match=message):
        load_text_encoder(folders["clip"], **settings)


def test_weights_that_are_missing_are_an_error_and_no_noise(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save(tmp_path, bytes_tokenizer("<s>", "<e>"))
    (tmp_path / "config.json").write_text((folders["umt5"] / "config.json").read_text())
    weights = load_file(folders["umt5"] / "model.safetensors")
    name = next(name for name in weights if "block.1" in name)
    save_file({key: value for key, value in weights.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=f"1 weights of UMT5EncoderModel are missing, {name}"):
        load_text_encoder(tmp_path, "umt5")


def test_a_tokenizer_is_found_beside_its_encoder_and_read_from_sentencepiece(text_folder: Path, tmp_path: Path) -> None:
    """As HunyuanVideo's second encoder lies, and as T5's vocabulary is published."""
    import shutil

    import sentencepiece

    for name in ("config.json", "model.safetensors"):
        (tmp_path / "text_encoder_2").mkdir(exist_ok=True)
        shutil.copy(text_folder / name, tmp_path / "text_encoder_2")
    before = weights_hash(tmp_path / "text_encoder_2")
    tokenizer = tmp_path / "tokenizer_2"
    tokenizer.mkdir()
    sentences = [f"{number} cats run in the {size} garden" for number in range(60) for size in ("big", "small")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(tokenizer / "spiece"), vocab_size=34, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "additional_special_tokens": []}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    encoder = load_text_encoder(tmp_path / "text_encoder_2")
    ids = encoder.tokenizer("cats run")["input_ids"]
    assert "".join(encoder.tokenizer.convert_ids_to_tokens(ids)) == "▁cats▁run</s>"
    assert len(encode_texts(encoder, ["cats run"])[0].states) == len(ids)
    assert text_encoder_hash(tmp_path / "text_encoder_2") not in (before, text_encoder_hash(text_folder))


def test_tiny_text_encoder_is_the_same_bytes_for_the_same_seed(text_folder: Path, tmp_path: Path) -> None:
    assert text_encoder_hash(save_tiny_text_encoder(tmp_path / "again", 0)) == text_encoder_hash(text_folder)
    assert text_encoder_hash(save_tiny_text_encoder(tmp_path / "other", 1)) != text_encoder_hash(text_folder)
