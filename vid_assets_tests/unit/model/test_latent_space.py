"""What is known of each latent space without loading a VAE: frame counts, settings, sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from model.vaes import FAMILIES, encode_settings, latent_space
from model.vaes.space import DTYPE_BYTES, pixel_bytes


@pytest.mark.parametrize(
    ("family", "frames", "words"),
    [
        ("hunyuan_video", 16, "4k[+]1 frames; the neighbours are 13 and 17"),
        ("cogvideox", 13, "8k[+]1 frames; the neighbours are 9 and 17"),
        ("wan", 0, "4k[+]1 frames; the neighbours are 1 and 5"),
        ("ltx_video", 5, "8k[+]1 frames; the neighbours are 1 and 9"),
        ("svd", 0, "any number of frames; the neighbour is 1"),
        ("image_kl", 17, "stills only, one frame each; the neighbour is 1"),
    ],
)
def test_a_frame_count_that_the_vae_would_change_is_refused_with_its_neighbours(
    family: str, frames: int, words: str
) -> None:
    space = latent_space(family)
    with pytest.raises(ValueError, match=f"{frames} frames: the VAE of {family} takes {words}"):
        space.latent_shape(frames, 64, 64)
    for valid in space.neighbours(frames):
        assert space.neighbours(valid) == (valid,)
        space.latent_shape(valid, 64, 64)


@pytest.mark.parametrize(
    ("family", "tiling", "settings", "words"),
    [
        ("svd", True, {}, "the VAE of svd cannot encode in tiles"),
        ("svd", False, {"use_slicing": True}, "has no setting 'use_slicing' to change; it has none at all"),
        ("wan", False, {"use_framewise_encoding": True}, "has no setting 'use_framewise_encoding'"),
        ("wan", False, {"use_tiling": True}, "has no setting 'use_tiling' to change"),
        ("wan", True, {"tile_sample_min_width": 200}, "takes multiples of 16"),
        ("wan", True, {"tile_sample_min_width": 128}, "tile_sample_stride_width is 192, more than a tile"),
        ("hunyuan_video", True, {"use_framewise_encoding": 1}, "it takes a value of type bool"),
        ("cogvideox", True, {"tile_sample_min_height": 64}, "overlap of 0.166667: tiles would not meet"),
        ("cogvideox", True, {"tile_overlap_factor_width": 1.5}, "from 0 to below 1"),
        ("ltx_video", False, {"use_framewise_encoding": True}, "set both alike"),
    ],
)
def test_a_setting_that_the_class_lacks_or_would_misread_is_refused(
    family: str, tiling: bool, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        encode_settings(family, tiling, settings)


#: Family -> how many times smaller a 49-frame 768x512 clip (or a still) is as half-precision moments, and as mean.
SMALLER = {
    "hunyuan_video": (11.3, 22.6),
    "cogvideox": (11.3, 22.6),
    "wan": (11.3, 22.6),
    "ltx_video": (42.0, 84.0),
    "svd": (12.0, 24.0),
    "image_kl": (12.0, 24.0),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_one_to_two_orders_smaller_than_pixels(family: str) -> None:
    space = latent_space(family)
    size = (49 if space.frame_step else 1, 512, 768)
    mean = math.prod(space.latent_shape(*size)) * DTYPE_BYTES["float16"]
    assert [pixel_bytes(*size) / stored for stored in (2 * mean, mean)] == pytest.approx(SMALLER[family], rel=5e-3)
