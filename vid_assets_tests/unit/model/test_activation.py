"""Activation checkpointing: equal gradients, coverage counted in real backward passes, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from model import denoisers
from model.denoisers import models, preset
from model.denoisers.base import config_of
from model.denoisers.conditions import Conditions
from model.errors import ModelError
from model.memory import activation
from model.recipe import Lora

#: The policies that each family has, and its modules by class.
TINY = {
    "svd-tiny": ("none", "diffusers", "temporal", "attention", "block"),
    "cogvideox-tiny": ("none", "diffusers", "attention", "block"),
    "hunyuan-video-tiny": ("none", "diffusers", "attention", "block"),
    "wan-tiny": ("none", "diffusers", "attention", "block"),
    "ltx-video-tiny": ("none", "diffusers", "attention", "block"),
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gradients(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Of one pass over two small samples, with dropout drawn from a fixed seed."""
    kind = denoisers.family(preset(name).family)
    dims = kind.dims(config_of(model))
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, dims.channels, 2, 4, 4, generator=generator)
    size = dims.states.get("text")
    texts = [None, None if size is None else torch.randn(3, size, generator=generator)]
    conditions = Conditions({"text": texts}, [8.0] * 2, text_tokens=preset(name).text_tokens)
    torch.manual_seed(2)
    kind.predict(model, latents, torch.tensor([3.0, 700.0]), conditions).square().mean().backward()
    return {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None}


def with_dropout(name: str) -> nn.Module:
    """A tiny model in which some layer drops activations, so that recomputation must draw the same ones again."""
    model = models.build(name, 0)
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert layers
    for layer in layers:
        layer.p = 0.2
    return model


@pytest.mark.parametrize("name", TINY)
def test_gradients_are_equal_bit_for_bit_under_every_policy_and_coverage_is_what_was_counted(name: str) -> None:
    model = with_dropout(name)
    assert activation.policies(model) == TINY[name]
    expected = gradients(copy.deepcopy(model), name)
    for policy in TINY[name]:
        other = copy.deepcopy(model)
        told = activation.apply(other, policy)
        assert list(other.state_dict()) == list(model.state_dict())
        with activation.counting(other, policy) as counted:
            found = gradients(other, name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), policy
        assert counted[0].rows() == told.rows(), policy
        assert any(done for _, done, _ in told.rows()) == (policy != "none")


def test_what_the_library_leaves_out_of_the_svd_unet_is_reached_by_the_policies() -> None:
    def covered(policy: str) -> dict[str, tuple[int, int]]:
        model = models.build("svd-tiny", 0)
        activation.apply(model, policy)
        with activation.counting(model, policy) as counted:
            gradients(model, "svd-tiny")
        return {name: (done, total) for name, done, total in counted[0].rows()}

    library, temporal, attention, block = (covered(name) for name in ("diffusers", "temporal", "attention", "block"))
    assert library["SpatioTemporalResBlock"] == (7, 8)  # not the first of the middle block
    assert library["TemporalBasicTransformerBlock"] == (0, 4)
    assert temporal["SpatioTemporalResBlock"] == (8, 8)
    assert temporal["TemporalBasicTransformerBlock"] == (4, 4)
    assert temporal["TransformerSpatioTemporalModel"] == (0, 4)
    assert attention["TransformerSpatioTemporalModel"] == (4, 4)
    assert attention["Upsample2D"] == attention["Downsample2D"] == (1, 1)
    assert all(done == total for done, total in block.values())
    assert block["Conv2d"] == (2, 2)  # the first and the last


def test_transformer_temporal_models_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a class that is no family here, whose temporal layers the library's own switch leaves out."""
    from diffusers import UNet3DConditionModel

    layers = ("ResnetBlock2D", "TemporalConvLayer", "BasicTransformerBlock")
    whole = (*layers, "Transformer2DModel", "TransformerTemporalModel", "Upsample2D", "Downsample2D")
    block = (*whole, "*DownBlock*", "UNetMidBlock*", "*UpBlock*", "conv_in", "conv_out")
    recomputes = {"temporal": layers, "attention": whole, "block": block}
    monkeypatch.setitem(activation._REACHES, "UNet3DConditionModel", recomputes)
    model = UNet3DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        layers_per_block=1,
    )
    assert activation.policies(model) == ("none", "temporal", "attention", "block")
    activation.apply(model, "attention")
    with activation.counting(model, "attention") as counted:
        model(torch.randn(1, 4, 2, 8, 8), torch.tensor([3]), torch.randn(1, 2, 16)).sample.sum().backward()
    assert counted[0].recomputed["TransformerTemporalModel"] == counted[0].total["TransformerTemporalModel"] == 5


def test_layers_are_chosen_by_patterns_and_the_last_match_decides() -> None:
    model = models.build("svd-tiny", 0)
    told = activation.apply(model, {"temporal": True, "up_blocks.*": False, "*.resnets.0": True})
    with activation.counting(model, "own") as counted:
        gradients(model, "svd-tiny")
    assert counted[0].rows() == told.rows()
    assert (
        told.recomputed["SpatioTemporalResBlock"] == 2 + 2 + 2
    )  # below and middle by the policy, above by the pattern
    assert told.recomputed["TemporalBasicTransformerBlock"] == 2  # those above are taken out


def test_lora_gradients_are_the_same_with_recomputation() -> None:
    pytest.importorskip("peft")
    from model.denoisers import lora

    found = []
    for policy in ("none", "block"):
        model = models.build("wan-tiny", 0)
        lora.add(model, Lora(rank=2, alpha=2, dropout=0.1), 0)
        activation.apply(model, policy)
        found.append(gradients(model, "wan-tiny"))
    assert found[0].keys() == found[1].keys() and all("lora" in key for key in found[0])
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_nothing_is_recomputed_without_gradients() -> None:
    model = models.build("wan-tiny", 0)
    activation.apply(model, "block")
    with torch.no_grad(), activation.counting(model, "block") as counted:
        kind = denoisers.family("wan")
        output = kind.predict(model, torch.zeros(1, 16, 1, 4, 4), torch.tensor([1.0]), Conditions.none(1))
    assert not output.requires_grad and not any(counted[0].recomputed.values())


def test_a_policy_that_reaches_nothing_names_those_that_would() -> None:
    with pytest.raises(ModelError, match=r"'temporal' would recompute nothing .* diffusers, attention, block"):
        activation.apply(models.build("wan-tiny", 0), "temporal")
    with pytest.raises(ModelError, match=r"'blocks' is no policy .* none, diffusers, temporal, attention, block"):
        activation.apply(models.build("wan-tiny", 0), "blocks")
    with pytest.raises(ModelError, match=r"'WanTransformerBlok' reaches no module .* did you mean WanTransformerBlock"):
        activation.apply(models.build("wan-tiny", 0), {"WanTransformerBlok": True})
    with pytest.raises(ModelError, match="recompute nothing"):
        activation.apply(models.build("wan-tiny", 0), {"WanAttention": False})
    with pytest.raises(ModelError, match="none of them"):
        activation.apply(nn.Sequential(nn.Linear(2, 2)), "block")


def test_a_second_policy_on_the_same_model_is_refused() -> None:
    for policy in ("diffusers", "block"):
        model = models.build("wan-tiny", 0)
        activation.apply(model, policy)
        with pytest.raises(ModelError, match="applied to this model before"):
            activation.apply(model, "attention")
