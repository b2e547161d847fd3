"""The VAE backend on the tiny VAE."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.tiny.models import save_tiny_vae
from model.vaes import backend, encode_settings, latent_space
from model.vaes.backend import load_vae, sample_and_normalise
from model.vaes.base import VAE_CODE_VERSION
from model.vaes.space import Normalisation
from model.weights import WeightsError, weights_hash

FAMILY = "hunyuan_video"
HOW = Normalisation((0.0,) * 16, (0.476986,) * 16)


@pytest.fixture(scope="module")
def vae(vae_folder: Path) -> Any:
    return load_vae(vae_folder, FAMILY)


def encode(vae: Any, frames: np.ndarray) -> np.ndarray:
    return backend.encode(vae, frames, FAMILY)


def decode(vae: Any, latents: torch.Tensor, how: Normalisation) -> np.ndarray:
    return backend.decode(vae, latents, how, FAMILY)


def clip(frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    images = [np.stack([4 * x + 3 * t, 5 * y, 100 + 0 * x], -1) for t in range(frames)]
    return (np.stack(images) % 256).astype(np.uint8)[None]


def test_moments_of_a_clip_and_of_a_still(vae: Any) -> None:
    assert encode(vae, clip(17)).shape == (1, 32, 5, 4, 6)
    still = encode(vae, clip(1))
    assert still.shape == (1, 32, 1, 4, 6)
    assert still.dtype == np.float32
    assert not latent_space("hunyuan_video").image_is_first_latent


@pytest.mark.parametrize("frames", [2, 4, 16])
def test_a_frame_count_that_would_be_floored_is_refused(vae: Any, frames: int) -> None:
    low = frames - (frames - 1) % 4
    with pytest.raises(ValueError, match=rf"neighbours are {low} and {low + 4}"):
        encode(vae, clip(frames))


def test_wrong_sizes_and_types_are_refused(vae: Any) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        encode(vae, clip(1, 30, 48))
    with pytest.raises(ValueError, match="uint8"):
        encode(vae, clip(1).astype(np.float32))
    with pytest.raises(ValueError, match="uint8"):
        encode(vae, clip(1)[0])


def test_batch_mates_do_not_change_a_latent(vae: Any) -> None:
    both = np.concatenate([clip(5), clip(5)[:, ::-1]])
    np.testing.assert_allclose(encode(vae, both)[:1], encode(vae, clip(5)), atol=1e-4)


def test_normalised_latent_is_scaled_after_sampling() -> None:
    mean, logvar = torch.randn(2, 16, 1, 2, 2), torch.full((2, 16, 1, 2, 2), np.log(0.25))
    moments = torch.cat([mean, logvar], 1)
    np.testing.assert_allclose(sample_and_normalise(moments, HOW), mean * 0.476986, rtol=1e-6)
    np.testing.assert_allclose(sample_and_normalise(mean, HOW), mean * 0.476986, rtol=1e-6)
    sampled = sample_and_normalise(moments, HOW, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(sampled, (mean + 0.5 * noise) * 0.476986, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="16 channels"):
        sample_and_normalise(torch.zeros(1, 8, 1, 2, 2), HOW)


def test_decoded_clip_has_the_shape_of_the_encoded_one(vae: Any) -> None:
    for frames in (1, 9, 17):
        latents = sample_and_normalise(torch.from_numpy(encode(vae, clip(frames))), HOW)
        pixels = decode(vae, latents, HOW)
        assert pixels.shape == clip(frames).shape
        assert pixels.dtype == np.uint8


def smooth_clip(frames: int = 17, height: int = 96, width: int = 128) -> np.ndarray:
    """A bright spot that wanders over a coloured slope."""
    y, x = np.mgrid[0:height, 0:width]
    images = []
    for t in range(frames):
        spot = np.exp(-((x - 40 - 2 * t) ** 2 + (y - 48) ** 2) / 400)
        images.append(np.stack([60 + x / 2 + 80 * spot, 80 + y / 2 + 80 * spot, 120 + 0 * x + 80 * spot], -1))
    return np.stack(images).round().astype(np.uint8)[None]


def test_the_tiny_vae_decodes_to_a_recognisable_picture(vae: Any) -> None:
    frames = smooth_clip()
    latents = sample_and_normalise(torch.from_numpy(encode(vae, frames)), HOW)
    assert 0.2 < latents.std() < 2
    error = np.abs(decode(vae, latents, HOW).astype(int) - frames)
    assert error[:, 0].mean() < 3  # of 255; the first frame has a latent of its own
    assert error.mean() < 3
    still = sample_and_normalise(torch.from_numpy(encode(vae, frames[:, :1])), HOW)
    assert np.abs(decode(vae, still, HOW).astype(int) - frames[:, :1]).mean() < 3


def test_weights_of_another_family_are_refused(vae_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    shutil.copytree(vae_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": "AutoencoderKLWan"}))
    with pytest.raises(WeightsError, match="AutoencoderKLWan"):
        load_vae(folder, FAMILY)
    with pytest.raises(ValueError, match="known are cogvideox, hunyuan_video"):
        load_vae(vae_folder, family="mochi")


def test_every_setting_that_changes_latents_is_set_and_said(vae: Any) -> None:
    settings = encode_settings("hunyuan_video", tiling=False)
    assert {name: getattr(vae, name) for name in settings} == settings
    # a new switch in diffusers must enter the settings before it can change latents in silence
    switches = {name for name in vars(vae) if name.startswith(("use_", "tile_"))}
    assert switches == set(settings)


def test_tiny_vae_is_the_same_bytes_for_the_same_seed(vae_folder: Path, tmp_path: Path) -> None:
    assert weights_hash(save_tiny_vae(tmp_path / "again", 0)) == weights_hash(vae_folder)
    assert weights_hash(save_tiny_vae(tmp_path / "other", 1)) != weights_hash(vae_folder)


# A change of the algorithm moves these numbers and must bump VAE_CODE_VERSION, which then needs numbers of its own.
GOLDEN = {"1": [-0.56701, 0.75954, -2.9576, -0.47315]}


def test_latents_change_only_with_the_code_version(vae: Any) -> None:
    moments = torch.from_numpy(encode(vae, clip(17)))
    latents = sample_and_normalise(moments, HOW, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(latents[0, :4, 2, 1, 2], GOLDEN[VAE_CODE_VERSION], atol=2e-3)
