"""The image encoder backend, on a small CLIP with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.encoders.image import encode_images, load_image_encoder
from model.weights import WeightsError, image_encoder_hash

LEVELS = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
SIZES = [(96, 64), (40, 120), (16, 16)]


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Stable Video Diffusion is published: the encoder, and how to prepare its input in a folder beside it."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("svd")
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, projection_dim=16,
        image_size=224, patch_size=56,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(place / "image_encoder")
    (place / "feature_extractor").mkdir()
    (place / "feature_extractor/preprocessor_config.json").write_text(json.dumps(LEVELS))
    return place / "image_encoder"


def test_embeddings_are_those_of_the_pipeline(folder: Path) -> None:
    from diffusers import StableVideoDiffusionPipeline
    from diffusers.video_processor import VideoProcessor
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    class Pipeline:
        """The parts of the pipeline that its image encoding uses; the others would take gigabytes."""

        video_processor = VideoProcessor()
        feature_extractor = CLIPImageProcessor(**LEVELS)
        image_encoder = CLIPVisionModelWithProjection.from_pretrained(folder)

    embedded = encode_images(load_image_encoder(folder), pictures(), batch_size=2)
    for picture, one in zip(pictures(), embedded, strict=True):
        with torch.no_grad():
            image = [Image.fromarray(picture)]
            expected = StableVideoDiffusionPipeline._encode_image(Pipeline(), image, "cpu", 1, False)
        assert one.shape == (1, 16)
        torch.testing.assert_close(one, expected[0], atol=1e-5, rtol=1e-4)


def test_how_the_input_is_prepared_is_part_of_the_encoder(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder.parent, tmp_path / "other")
    other = tmp_path / "other/image_encoder"
    assert image_encoder_hash(other) == image_encoder_hash(folder)
    beside = tmp_path / "other/feature_extractor/preprocessor_config.json"
    beside.write_text(json.dumps(LEVELS | {"image_mean": [0.5, 0.5, 0.5]}))
    assert image_encoder_hash(other) != image_encoder_hash(folder)
    beside.unlink()
    with pytest.raises(WeightsError, match=r"no preprocessor_config.json, neither here nor in .*feature_extractor"):
        load_image_encoder(other)


def test_a_folder_of_another_family_is_refused(text_folder: Path) -> None:
    with pytest.raises(WeightsError, match="type t5, not of the family clip_vision"):
        load_image_encoder(text_folder)
