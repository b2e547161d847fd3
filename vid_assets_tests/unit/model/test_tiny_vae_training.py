"""The recipe of the shipped tiny VAE, and whether its card is true."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.labelled.footage import FOOTAGE
from model.tiny.models import TINY_VAE
from model.tiny.vae_training.footage import HELD_OUT, LEFT_OUT, Clip, random_crop, read_footage, square
from model.tiny.vae_training.linear_code import LinearCode, psnr
from model.tiny.vae_training.linear_path import CONFIG, POSTERIOR, LinearPath
from model.tiny.vae_training.rendered import rendered_clips
from model.tiny.vae_training.training import Curve, Footage, as_pixels, reconstruct, train
from vid_assets_tests.unit.footage.rendering import needs_footage

MEASURED: dict[str, Any] = json.loads((TINY_VAE / "measured.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rendered() -> list[Clip]:
    return rendered_clips(4, seed=3)


@pytest.fixture(scope="module")
def path_and_vae(rendered: list[Clip]) -> tuple[LinearPath, Any, torch.Tensor]:
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    path, vae = LinearPath(), AutoencoderKLHunyuanVideo(**CONFIG)
    pixels = as_pixels(np.stack([clip.frames[:9, :64, :64] for clip in rendered]))
    path.analyse([pixels])
    path.write_into(vae, [pixels])
    return path, vae, pixels


def test_rendered_clips_are_many_kinds_that_move(rendered: list[Clip]) -> None:
    assert [clip.frames.shape for clip in rendered] == [(17, 224, 224, 3)] * 4
    assert all(np.array_equal(one.frames, again.frames) for one, again in zip(rendered, rendered_clips(4, seed=3)))
    assert any(np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean() > 5 for clip in rendered)


def test_crops_come_in_the_size_asked_for_and_stills_stand_still() -> None:
    rng = np.random.default_rng(0)
    video = Clip("video", rng.integers(0, 255, (17, 90, 120, 3), dtype=np.uint8))
    still = Clip("still", rng.integers(0, 255, (1, 90, 120, 3), dtype=np.uint8))
    for frames, size in ((9, 64), (17, 32), (1, 128)):
        assert random_crop([video], frames, size, rng).shape == (frames, size, size, 3)
    held = random_crop([still], 5, 64, rng)
    assert (held == held[0]).all()


def test_the_linear_code_keeps_what_16_numbers_can_hold() -> None:
    rng = np.random.default_rng(0)
    flat = np.repeat(np.repeat(rng.integers(0, 255, (9, 8, 8, 3)), 8, axis=1), 8, axis=2).astype(np.uint8)
    flat[1:5], flat[5:] = flat[1], flat[5]  # one colour a block: three numbers
    noise = Clip("noise", rng.integers(0, 255, (9, 64, 64, 3), dtype=np.uint8))
    code = LinearCode.fit([Clip("flat", flat)])
    assert psnr([(flat, code.reconstruct(flat))]) > 45
    assert psnr([(noise.frames, code.reconstruct(noise.frames))]) < 15
    assert psnr([(flat, flat + 1)]) == pytest.approx(48.13, abs=0.2)


def test_the_vae_starts_as_the_linear_path(path_and_vae: tuple[LinearPath, Any, torch.Tensor]) -> None:
    path, vae, pixels = path_and_vae
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        difference = (vae.decode(posterior.mean).sample - path(pixels)).square().mean()
        assert difference < 0.05 * path(pixels).square().mean()
    scaled = posterior.mean * vae.config.scaling_factor
    assert scaled.std() == pytest.approx(1, abs=0.2)
    assert (posterior.std * vae.config.scaling_factor).mean() == pytest.approx(POSTERIOR, rel=1e-3)


def test_training_changes_the_weights_but_not_the_width_of_the_posterior(
    path_and_vae: tuple[LinearPath, Any, torch.Tensor], rendered: list[Clip]
) -> None:
    _, vae, pixels = path_and_vae
    before = {name: weight.clone() for name, weight in vae.named_parameters()}
    average = train(vae, Footage(rendered, rendered, 0), rendered[:1], 0.05, lambda text: None, Curve())
    moved = {name for name, weight in vae.named_parameters() if not torch.equal(weight, before[name])}
    assert {"encoder.conv_in.conv.weight", "decoder.up_blocks.1.resnets.0.conv2.conv.weight"} <= moved
    assert not moved & {"quant_conv.weight", "quant_conv.bias"}
    with torch.no_grad():
        assert torch.isfinite(average.encode(pixels).latent_dist.mean).all()


@needs_footage
def test_held_out_files_are_not_trained_on() -> None:
    every = [path.name for kind in ("video", "images") for path in (FOOTAGE / kind).iterdir()]
    assert all(any(name.startswith(one) for name in every) for one in (*HELD_OUT, *LEFT_OUT))
    train_on, held_out = read_footage(FOOTAGE, only=("exo_rot90", "intel_asl", "prairie", "wood"))
    assert {clip.name for clip in train_on} == {"exo_rot90_video_1.mp4"}
    assert {clip.name for clip in held_out} == {"intel_asl_walk.mkv", "prairie_falcon.jpg", "wood_anemones.jpg"}
    assert {clip.frames.shape[1:] for clip in held_out} == {(256, 256, 3)}


@needs_footage
@pytest.mark.parametrize("name", ["prairie_falcon.jpg", "Landscape_6.jpg"])
def test_the_card_states_what_the_shipped_weights_do(name: str) -> None:
    from model.tiny.vae_training.__main__ import load

    _, held_out = read_footage(FOOTAGE, only=(name,))
    found = psnr((clip.frames, reconstruct(load(TINY_VAE), clip.frames)) for clip in held_out)
    stated = MEASURED["held out"][name]["vae"]
    assert found == pytest.approx(stated, abs=0.05)
    assert f"{stated:.1f}" in (TINY_VAE / "README.md").read_text(encoding="utf-8")


def test_the_shipped_vae_is_small_and_no_worse_than_its_card_says() -> None:
    assert sum(path.stat().st_size for path in TINY_VAE.glob("*.safetensors")) < 5_000_000
    assert 0.8e6 < MEASURED["parameters"] < 1.5e6
    mean = MEASURED["held out"]["mean"]
    behind = mean["linear code"] - mean["vae"]
    card = (TINY_VAE / "README.md").read_text(encoding="utf-8")
    assert f"{abs(behind):.1f} dB {'worse' if behind > 0 else 'better'} than the linear code" in card


def test_square_keeps_the_middle() -> None:
    frames = np.zeros((1, 50, 100, 3), np.uint8)
    frames[:, :, 50:] = 200
    middle = square(frames, 64)
    assert middle.shape == (1, 64, 64, 3)
    assert middle[0, 32, 4].tolist() == [0, 0, 0]
    assert middle[0, 32, 60].tolist() == [200, 200, 200]
