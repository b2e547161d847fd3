"""The hash that names weights, and where weights are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model import weights


def write(folder: Path, config: dict, data: bytes = b"weights", name: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / name).write_bytes(data)
    return folder


def test_hash_ignores_place_key_order_and_library_version_but_no_weight_and_no_setting(tmp_path: Path) -> None:
    first = weights.weights_hash(write(tmp_path / "a", {"_diffusers_version": "1", "dim": 4, "heads": 2}))
    again = weights.weights_hash(write(tmp_path / "b", {"heads": 2, "dim": 4, "_name_or_path": "/x"}))
    assert first == again
    assert weights.weights_hash(write(tmp_path / "c", {"heads": 2, "dim": 4}, b"weightz")) != first
    assert weights.weights_hash(write(tmp_path / "d", {"heads": 2, "dim": 5})) != first


def test_hash_takes_the_files_that_would_be_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path, {}, b"1", "diffusion_pytorch_model.safetensors")
    before = weights.weights_hash(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"a pickle that nobody loads")
    assert weights.weights_hash(folder) == before
    assert weights.weights_hash(tmp_path.parent, tmp_path.name) == before


def test_shards_are_hashed_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, {}, b"1", "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(weights.WeightsError, match="model-00002-of-00002"):
        weights.weights_hash(folder)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"2")
    before = weights.weights_hash(folder)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"3")
    assert weights.weights_hash(folder) != before


def test_tokenizer_is_part_of_a_text_encoder(tmp_path: Path) -> None:
    folder = write(tmp_path / "text_encoder", {})
    with pytest.raises(weights.WeightsError, match="no tokenizer"):
        weights.text_encoder_hash(folder)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text("{}")
    before = weights.text_encoder_hash(folder)
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"extra_ids": 1}')
    assert weights.text_encoder_hash(folder) != before


def test_resolve_takes_a_local_folder_or_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "repo" / "vae", {})
    assert weights.resolve(str(tmp_path / "repo"), subfolder="vae") == folder
    with pytest.raises(weights.WeightsError, match=r"no config\.json"):
        weights.resolve(str(tmp_path / "repo"))
    with pytest.raises(weights.WeightsError, match="no such folder"):
        weights.resolve(str(tmp_path / "nothing"))

    asked: list[tuple] = []

    def snapshot_download(repo: str, revision: str | None = None, **patterns: list[str] | None) -> str:
        asked.append((repo, revision, patterns))
        if repo == "owner/gone":
            raise RuntimeError("404 Not Found\nmore")
        return str(tmp_path / "repo")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert weights.resolve("owner/name", "abc", "vae") == folder
    with pytest.raises(weights.WeightsError, match="see `subfolder`"):  # a pipeline: nothing in its folders is fetched
        weights.resolve("owner/name")
    assert asked == [
        ("owner/name", "abc", {"allow_patterns": ["vae/*"], "ignore_patterns": []}),
        ("owner/name", None, {"allow_patterns": None, "ignore_patterns": ["*/*"]}),
    ]
    with pytest.raises(weights.WeightsError, match=r"owner/gone at revision r1: .*404 Not Found$"):
        weights.resolve("owner/gone", "r1", "vae")


def test_what_belongs_to_an_encoder_is_downloaded_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a pipeline's repository: the folder of the encoder and that of its tokenizer, and no other."""
    from vid_assets.assets.weights import weights_of
    from vid_assets.encoding.settings import ImageEncoderSection, PooledTextEncoderSection, TextEncoderSection

    asked: list[list[str]] = []

    def snapshot_download(repo: str, revision: str | None = None, **patterns: list[str]) -> str:
        asked.append(patterns["allow_patterns"])
        return str(tmp_path / "repo")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    for name, beside, file in (
        ("text_encoder", "tokenizer", "tokenizer.json"),
        ("text_encoder_2", "tokenizer_2", "vocab.json"),
        ("image_encoder", "feature_extractor", "preprocessor_config.json"),
    ):
        write(tmp_path / "repo" / name, {})
        (tmp_path / "repo" / beside).mkdir()
        (tmp_path / "repo" / beside / file).write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    made = TextEncoderSection, PooledTextEncoderSection, ImageEncoderSection
    folders = "text_encoder", "text_encoder_2", "image_encoder"
    sections = [make(source="owner/name", subfolder=folder) for make, folder in zip(made, folders, strict=True)]
    hashes = [weights_of(tmp_path, section).hash for section in sections]
    assert [set(patterns) for patterns in asked] == [
        {"text_encoder/*", "tokenizer/*"},
        {"text_encoder_2/*", "tokenizer_2/*"},
        {"image_encoder/*", "feature_extractor/*"},
    ]
    (tmp_path / "repo/tokenizer_2/vocab.json").write_text('{"another": 1}')
    again = weights_of(tmp_path, PooledTextEncoderSection(source="owner/name", subfolder="text_encoder_2")).hash
    assert again != hashes[1], "a tokenizer that changed beside its encoder is noticed"
