"""Every VAE family, on small random weights of its real class that are saved to a folder and loaded from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model import denoisers
from model.manifest import VaeSpec
from model.vaes import encode_settings, folder_space, latent_space, normalisation
from model.vaes.backend import decode, encode, load_vae, sample_and_normalise
from model.weights import WeightsError
from vid_assets_tests.small_vaes import SMALL, save_small_vae


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small checkpoint, saved when it is first asked for."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = save_small_vae(root, name)
        return made[name]

    return get


@pytest.fixture(scope="module", params=list(SMALL))
def small(request: pytest.FixtureRequest, folder: Callable[[str], Path]) -> Any:
    """A loaded checkpoint with all that is known of it."""
    family, path = SMALL[request.param][0], folder(request.param)
    vae, space, how = load_vae(path, family=family), folder_space(path, family), normalisation(path, family)
    return SimpleNamespace(family=family, path=path, vae=vae, space=space, how=how)


def footage(space: Any, frames: int, batch: int = 1, height: int = 32, width: int = 64) -> np.ndarray:
    if space.frame_step is None:
        frames = 1
    return np.random.default_rng(frames).integers(0, 256, (batch, frames, height, width, 3), dtype=np.uint8)


def class_moments(vae: Any, frames: np.ndarray, space: Any) -> torch.Tensor:
    """What the class itself gives, called as diffusers' pipelines call it."""
    pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.inference_mode():
        if space.family in ("svd", "image_kl"):
            return torch.stack([vae.encode(clip.transpose(0, 1)).latent_dist.parameters for clip in pixels]).transpose(
                1, 2
            )
        return vae.encode(pixels).latent_dist.parameters


@pytest.mark.parametrize("frames", [1, 9, 25])
def test_a_clip_becomes_the_moments_of_the_class_and_comes_back_with_its_frames(small: Any, frames: int) -> None:
    clips = footage(small.space, frames, batch=2)
    moments = encode(small.vae, clips, small.family)
    channels, *size = small.space.latent_shape(*clips.shape[1:4])
    assert moments.shape == (2, 2 * channels, *size)
    assert moments.dtype == np.float32
    np.testing.assert_allclose(moments, class_moments(small.vae, clips, small.space), atol=1e-5)
    np.testing.assert_allclose(encode(small.vae, clips[1:], small.family), moments[1:], atol=1e-4)
    latents = sample_and_normalise(torch.from_numpy(moments), small.how)
    pixels = decode(small.vae, latents, small.how, small.family)
    assert pixels.shape == clips.shape
    assert pixels.dtype == np.uint8
    before = torch.random.get_rng_state()
    assert np.array_equal(decode(small.vae, latents, small.how, small.family), pixels)
    assert torch.equal(torch.random.get_rng_state(), before)


def class_pixels(vae: Any, mean: torch.Tensor, space: Any) -> np.ndarray:
    """uint8 (F, H, W, 3) of one clip's latent (1, C, f, h, w), called as diffusers' pipelines call each class."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        if space.family == "svd":
            pixels = vae.decode(mean[0].transpose(0, 1), num_frames=mean.shape[2]).sample
        elif space.family == "image_kl":
            pixels = vae.decode(mean[:, :, 0]).sample
        else:
            timestep = (torch.zeros(1),) if getattr(vae.config, "timestep_conditioning", False) else ()
            pixels = vae.decode(mean, *timestep).sample[0].transpose(0, 1)
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()


def test_decoding_undoes_the_normalisation(small: Any) -> None:
    moments = torch.from_numpy(encode(small.vae, footage(small.space, 9), small.family))
    (decoded,) = decode(small.vae, sample_and_normalise(moments, small.how), small.how, small.family)
    of_the_class = class_pixels(small.vae, moments[:, : small.space.channels], small.space)
    assert np.abs(decoded - of_the_class).max() <= 1
    assert of_the_class.std() > 1, "the picture is not plain, so that a wrong scale would show"


EXPECTED: dict[str, tuple[float, float]] = {  # shift and scale of channel 1
    "hunyuan_video": (0.0, 0.476986),
    "cogvideox-5b": (0.0, 0.7),
    "wan-2.1": (-0.7089, 1 / 1.4541),
    "wan-2.2": (0.25, 0.5),
    "ltx_video": (-1 + 2 / 127, 0.25),
    "svd": (0.0, 0.18215),
    "image_kl": (0.0, 0.18215),
    "image_kl-flux": (0.1159, 0.3611),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_normalisation_is_that_of_the_checkpoint_and_follows_sampling(
    name: str, folder: Callable[[str], Path]
) -> None:
    how = normalisation(folder(name), SMALL[name][0])
    assert (how.shift[1], how.scale[1]) == pytest.approx(EXPECTED[name], rel=1e-6)
    told = {"family": "x", "path": "x", "weights_hash": "x", "normalisation": how.as_dict()}
    assert VaeSpec.model_validate_json(json.dumps(told), strict=True).normalisation == how
    moments = torch.randn(2, 2 * how.channels, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, how.channels, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    mean, logvar = moments.chunk(2, 1)
    expected = ((mean + torch.exp(logvar / 2) * noise)[:, 1] - how.shift[1]) * how.scale[1]
    sampled = sample_and_normalise(moments, how, torch.Generator().manual_seed(2))
    np.testing.assert_allclose(sampled[:, 1], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(how.invert(how.apply(mean)), mean, rtol=1e-5, atol=1e-6)


def test_a_still_is_the_first_latent_where_the_family_says_so(small: Any) -> None:
    clip = footage(small.space, 17)
    difference = np.abs(
        encode(small.vae, clip, small.family)[:, :, :1] - encode(small.vae, clip[:, :1], small.family)
    ).max()
    assert difference < 1e-5 if small.space.image_is_first_latent else difference > 1e-2


def test_cogvideox_itself_gives_other_frames_back_where_we_refuse(folder: Callable[[str], Path]) -> None:
    vae = load_vae(folder("cogvideox-5b"), family="cogvideox")
    frames = footage(latent_space("cogvideox"), 13)
    moments = class_moments(vae, frames, latent_space("cogvideox"))
    with torch.inference_mode():
        assert vae.decode(moments[:, :16]).sample.shape[2] == 16, "4k+1 frames would come back as 4k+4"
    with pytest.raises(ValueError, match="neighbours are 9 and 17"):
        encode(vae, frames, "cogvideox")


def test_every_setting_that_changes_latents_is_set_and_said(small: Any) -> None:
    settings = encode_settings(small.family, tiling=False)
    assert {name: getattr(small.vae, name) for name in settings} == settings
    # a new switch in diffusers must enter the settings before it can change latents in silence
    assert {name for name in vars(small.vae) if name.startswith(("use_", "tile_", "num_"))} == set(settings)


_TILES = {"tile_sample_min_height": 64, "tile_sample_min_width": 64}
_STRIDES = {**_TILES, "tile_sample_stride_height": 32, "tile_sample_stride_width": 32}
_OVERLAPS = {**_TILES, "tile_overlap_factor_height": 0.25, "tile_overlap_factor_width": 0.25}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("hunyuan_video", _STRIDES),
        ("cogvideox-5b", _OVERLAPS),
        ("wan-2.1", _STRIDES),
        ("wan-2.2", _STRIDES),
        ("ltx_video", _STRIDES),
        ("image_kl", {"tile_sample_min_size": 64}),
    ],
)
def test_tiles_give_other_latents_of_the_same_shape(
    name: str, settings: dict[str, Any], folder: Callable[[str], Path]
) -> None:
    family = SMALL[name][0]
    space, how = folder_space(folder(name), family), normalisation(folder(name), family)
    frames = footage(space, 9, height=64, width=128)
    whole = encode(load_vae(folder(name), family=family), frames, family)
    vae = load_vae(folder(name), family, tiling=True, settings=settings)
    tiled = encode(vae, frames, family)
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).max() > 1e-4
    assert decode(vae, sample_and_normalise(torch.from_numpy(tiled), how), how, family).shape == frames.shape
    assert encode_settings(family, True, settings) != encode_settings(family, False)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_on_the_cpu_and_repeats_itself(small: Any, dtype: str) -> None:
    side = small.space.spatial
    frames = footage(small.space, small.space.frame_step or 1, height=side, width=side)
    if small.space.frame_step:
        frames = np.concatenate([frames[:, :1], frames], 1)[:, : small.space.frame_step + 1]
    vae = load_vae(small.path, small.family, dtype)
    moments = encode(vae, frames, small.family)
    assert moments.dtype == np.float32
    assert np.array_equal(encode(vae, frames, small.family), moments)
    difference = np.abs(moments - encode(small.vae, frames, small.family)).max()
    assert 0 < difference < 0.1


def changed_config(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return target


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("wan-2.1", {"_class_name": "AutoencoderKL"}, "family wan: _class_name is 'AutoencoderKL', not"),
        ("wan-2.1", {"z_dim": 12}, "4x8x8 with 12 channels, not 4x8x8 with 16 channels or 4x16x16 with 48 channels"),
        ("wan-2.1", {"latents_std": [1.0] * 3}, "latents_mean and latents_std are not 16 numbers each"),
        ("cogvideox-5b", {"temporal_compression_ratio": 8}, "it is 8x8x8 with 16 channels, not 4x8x8 with 16"),
        ("ltx_video", {"spatio_temporal_scaling": [True, True, False, False]}, "it is 4x16x16 with 128 channels"),
        ("svd", {"latent_channels": 8}, "it is 1x8x8 with 8 channels, not 1x8x8 with 4 channels"),
        ("image_kl", {"block_out_channels": [8, 8, 8]}, "it is 1x4x4 with 4 channels"),
    ],
)
def test_another_class_or_geometry_is_refused_in_words(
    name: str, changes: dict[str, Any], words: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    other = changed_config(folder(name), tmp_path / "vae", **changes)
    with pytest.raises(WeightsError, match=words):
        normalisation(other, SMALL[name][0])


def test_ltx_weights_without_their_normalisation_are_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    other = changed_config(folder("ltx_video"), tmp_path / "vae")
    file = other / "diffusion_pytorch_model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if key != "latents_std"}, file)
    with pytest.raises(WeightsError, match="the weights hold no latents_std"):
        normalisation(other, "ltx_video")


def test_a_vae_of_another_family_than_asked_for_encodes_nothing(folder: Callable[[str], Path]) -> None:
    vae = load_vae(folder("image_kl"), family="image_kl")
    with pytest.raises(ValueError, match="AutoencoderKL is no VAE of the family svd"):
        encode(vae, footage(latent_space("image_kl"), 1), "svd")


def test_svd_is_conditioned_on_the_unscaled_mean_of_the_first_frame() -> None:
    moments, svd = torch.randn(2, 8, 5, 3, 3), denoisers.family("svd")
    expected = moments[:, :4, 0]
    assert torch.equal(svd.first_frame(moments, None), expected)
    assert torch.equal(svd.first_frame(moments[:, :4].half(), None), expected.half().float())
    with pytest.raises(ValueError, match="the normalised latents, which was not given"):
        denoisers.family("wan").first_frame(torch.zeros(1, 32, 1, 2, 2), None)
