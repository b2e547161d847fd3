"""Denoisers built, saved, loaded and widened; the sizes of the presets, and the refusal of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file
from torch import nn

from model import denoisers
from model.data.kinds import KINDS
from model.denoisers import PRESETS, models, preset
from model.denoisers.base import config_of
from model.errors import ModelError
from model.vaes import latent_space
from vid_assets_tests.unit.model.denoising import TINY, given, predict


@pytest.fixture(scope="module", params=TINY)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    return models.build(name, 0)


def test_equal_seeds_give_equal_weights_and_folders_give_them_back(name: str, model: nn.Module, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    again, other = models.build(name, 0).state_dict(), models.build(name, 1).state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    weights = model.state_dict()
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert not all(torch.equal(weights[key], other[key]) for key in weights)
    model.save_pretrained(str(tmp_path), max_shard_size="1MB")  # type: ignore[operator]
    assert len(list(tmp_path.glob("*.safetensors"))) > 1  # as large weights are published
    loaded = models.load(tmp_path, preset(name).family)
    assert all(torch.equal(value, weights[key]) for key, value in loaded.state_dict().items())
    assert loaded.training and all(weight.requires_grad for weight in loaded.parameters())
    assert torch.equal(predict(name, loaded, 3, given(name)), predict(name, model, 3, given(name)))


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    models.build("wan-tiny", 0).save_pretrained(str(tmp_path))  # type: ignore[operator]
    with pytest.raises(ModelError, match="holds a WanTransformer3DModel, but the family ltx_video is LTXVideo"):
        models.load(tmp_path, "ltx_video")
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({key: value for key, value in tensors.items() if key != "proj_out.bias"}, file)
    with pytest.raises(ModelError, match=r"1 missing keys, such as proj_out\.bias"):
        models.load(tmp_path, "wan")
    save_file({**tensors, "more": torch.ones(1)}, file)
    with pytest.raises(ModelError, match="1 unexpected keys, such as more"):
        models.load(tmp_path, "wan")
    save_file(tensors, file)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"text_dim": 32}))
    with pytest.raises(ModelError, match="expected shape"):
        models.load(tmp_path, "wan")
    file.unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        models.load(tmp_path, "wan")


def test_pretrained_weights_are_those_of_the_preset(tmp_path: Path) -> None:
    models.build("tiny-dit", 0).save_pretrained(str(tmp_path / "dit"))  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"not of the preset wan-tiny: num_layers is 4, not 3$"):
        models.pretrained(tmp_path / "dit", "wan-tiny")
    weights = models.build("tiny-dit", 0).state_dict()
    found = models.pretrained(tmp_path / "dit", "tiny-dit").state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in found.items())
    later = preset("cogvideox-tiny").architecture | {"patch_size_t": 2, "num_layers": 1}  # as CogVideoX 1.5
    CogVideoXTransformer3DModel(**later).save_pretrained(str(tmp_path / "later"))
    with pytest.raises(ModelError, match=r"num_layers is 1, not 2; patch_size_t is 2, not None$"):
        models.pretrained(tmp_path / "later", "cogvideox-tiny")
    shorter = preset("svd-tiny").architecture | {"num_frames": 14}
    UNetSpatioTemporalConditionModel(**shorter).save_pretrained(str(tmp_path / "svd"))
    assert models.pretrained(tmp_path / "svd", "svd-tiny", "first_frame").config.num_frames == 14


def test_what_does_not_fit_is_named(name: str, model: nn.Module) -> None:
    family, space = denoisers.family(preset(name).family), latent_space(preset(name).latent_family)
    needs = preset(name).image_conditioning == "first_frame"
    family.check(model, space.channels, dict.fromkeys(KINDS, 64), needs)
    family.check(model, space.channels, dict.fromkeys(KINDS), needs)
    dims = family.dims(config_of(model))
    with pytest.raises(ModelError) as refused:
        family.check(model, 7, {"text": 32, "pooled": 48, "image": 24}, needs)
    message = str(refused.value)
    assert f"latents of {space.channels} channels, these have 7" in message
    for what, kind, found in (("text", "text", 32), ("pooled text", "pooled", 48), ("image", "image", 24)):
        read = dims.states.get(kind) is not None
        assert (f"reads {what} states of 64, these have {found}" in message) == read
    if needs:
        with pytest.raises(ModelError, match="image_conditioning"):
            family.check(model, space.channels, {}, False)


@pytest.mark.parametrize("name", ["cogvideox-tiny", "hunyuan-video-tiny", "wan-tiny"])
def test_a_first_frame_has_channels_of_its_own(name: str, tmp_path: Path) -> None:
    model, family = models.build(name, 0), denoisers.family(preset(name).family)
    made = models.build(name, 0, "first_frame")
    family.check(made, 16, {"text": 64, "pooled": 64}, True)
    with pytest.raises(ModelError, match="has no input channels for a first frame"):
        family.check(model, 16, {}, True)
    with pytest.raises(ModelError, match="which image_conditioning: none never gives it"):
        family.check(made, 16, {}, False)
    first = torch.ones(2, 16, 8, 8)
    without, with_it = (predict(name, made, 3, given(name, first_frame=frame)) for frame in (None, first))
    assert with_it.shape == without.shape and (with_it - without).abs().max() > 1e-4
    assert predict(name, made, 1, given(name)).shape == (2, 16, 1, 8, 8)
    # a model without them gets some whose weights are zero, and predicts what it did
    model.save_pretrained(str(tmp_path / "plain"))  # type: ignore[operator]
    wide = models.pretrained(tmp_path / "plain", name, "first_frame")
    family.check(wide, 16, {"text": 64, "pooled": 64}, True)
    before = predict(name, model, 3, given(name))
    torch.testing.assert_close(predict(name, wide, 3, given(name, first_frame=first)), before, rtol=1e-4, atol=1e-5)
    wide.save_pretrained(str(tmp_path / "wide"))  # type: ignore[operator]
    again = models.pretrained(tmp_path / "wide", name, "first_frame")
    torch.testing.assert_close(predict(name, again, 3, given(name, first_frame=first)), before, rtol=1e-4, atol=1e-5)


def test_presets_are_of_the_published_sizes() -> None:
    import diffusers

    billions = {}
    for name, chosen in PRESETS.items():
        with torch.device("meta"):
            model = getattr(diffusers, denoisers.family(chosen.family).class_name)(**chosen.architecture)
        dims = denoisers.family(chosen.family).dims(model.config)
        assert dims.channels == latent_space(chosen.latent_family).channels, name
        assert (chosen.text_family is None) == ("text" not in dims.states), name
        billions[name] = round(sum(weight.numel() for weight in model.parameters()) / 1e9, 3)
    assert billions == {
        "svd": 1.525,
        "cogvideox-2b": 1.694,
        "cogvideox-5b": 5.570,
        "hunyuan-video": 12.821,
        "wan-1.3b": 1.419,
        "wan-14b": 14.288,
        "ltx-video": 1.923,
        **dict.fromkeys(("tiny-dit", *TINY), 0.001),
    }
    assert {chosen.family for chosen in PRESETS.values()} == {"svd", "cogvideox", "hunyuan_video", "wan", "ltx_video"}


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'huge-dit' is no model preset; known are .*wan-14b"):
        models.build("huge-dit", 0)
    with pytest.raises(ValueError, match="'dit' is no family of denoisers; known are cogvideox"):
        denoisers.family("dit")
    with pytest.raises(ValueError, match="known are none, first_frame"):
        models.build("wan-tiny", 0, "last_frame")
