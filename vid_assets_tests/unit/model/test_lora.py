"""Low-rank adapters on a tiny denoiser of each family: added, trained, saved, loaded and merged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from model import denoisers, lora
from model.denoisers import Conditions
from model.latent_space import latent_space
from model.presets import preset
from vid_assets_tests.unit.model.denoising import TINY

SETTINGS: dict[str, Any] = {"rank": 4, "alpha": 8.0, "targets": None, "dropout": 0.0}


def predict(name: str, model: nn.Module) -> torch.Tensor:
    chosen, generator = preset(name), torch.Generator().manual_seed(0)
    noisy = torch.randn(1, latent_space(chosen.latent_family).channels, 2, 8, 8, generator=generator)
    states: Any = [torch.randn(3, 64, generator=generator)]
    conditions = Conditions(states, [None], states, [None], text_tokens=chosen.text_tokens)
    return denoisers.family(chosen.family).predict(model, noisy, torch.tensor([300.0]), conditions)


@torch.no_grad()
def perturb(model: nn.Module) -> None:
    """Stands for training: moves every trainable weight."""
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.add_(torch.randn_like(weight) * 0.1)


@pytest.mark.parametrize("name", TINY)
def test_adapters_alone_are_trained_saved_and_merged(name: str, tmp_path: Path) -> None:
    model = denoisers.build(name, 0)
    frozen = {key: value.clone() for key, value in model.state_dict().items()}
    before = predict(name, model).detach()
    layers = lora.add(model, SETTINGS, 3)
    assert layers == len(lora.adapted(model)) > 4
    torch.testing.assert_close(predict(name, model), before, rtol=1e-5, atol=1e-6)  # they change nothing yet

    (predict(name, model) - 1).square().mean().backward()
    trained = {key for key, weight in model.named_parameters() if weight.grad is not None}
    assert len(trained) == 2 * layers and all(".lora_" in key for key in trained)
    second = [weight.grad for key, weight in model.named_parameters() if "lora_B" in key]
    assert all(grad is not None and grad.isfinite().all() for grad in second) and any(bool(g.any()) for g in second)
    perturb(model)
    after = predict(name, model).detach()
    assert (after - before).abs().max() > 1e-3

    lora.save(model, tmp_path)
    loaded = denoisers.build(name, 0)
    assert lora.load(loaded, tmp_path) == layers
    torch.testing.assert_close(predict(name, loaded), after, rtol=1e-5, atol=1e-6)

    lora.merge(model)
    assert not lora.adapted(model) and model.state_dict().keys() == frozen.keys()
    assert all(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(predict(name, model), after, rtol=1e-4, atol=1e-5)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, frozen[key])]
    assert len(changed) == layers and all(".to_" in key for key in changed)
    model.save_pretrained(str(tmp_path / "merged"))  # type: ignore[operator]
    again = denoisers.load(tmp_path / "merged", preset(name).family)
    torch.testing.assert_close(predict(name, again), predict(name, model), rtol=1e-5, atol=1e-6)
    assert lora.add(again, SETTINGS, 0) == layers  # the next stage adapts it anew


def test_a_pipeline_of_diffusers_loads_what_was_saved(tmp_path: Path) -> None:
    model = denoisers.build("wan-tiny", 0)
    lora.add(model, SETTINGS, 0)
    perturb(model)
    lora.save(model, tmp_path)
    plain: Any = denoisers.build("wan-tiny", 0)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipeline = diffusers.WanPipeline(None, None, None, scheduler, transformer=plain)
    pipeline.load_lora_weights(tmp_path)
    torch.testing.assert_close(predict("wan-tiny", plain), predict("wan-tiny", model))


def test_equal_seeds_give_equal_adapters_and_targets_choose_the_layers() -> None:
    first, second, third = (denoisers.build("wan-tiny", 0) for _ in range(3))
    state = torch.random.get_rng_state()
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        lora.add(model, SETTINGS, seed)
    assert torch.equal(state, torch.random.get_rng_state())
    one, two, three = (lora.state(model) for model in (first, second, third))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], three[key]) for key in one)

    model = denoisers.build("wan-tiny", 0)
    assert lora.add(model, {**SETTINGS, "targets": ["attn1.to_v", "ffn.net.0.proj"]}, 0) == 6
    lora.merge(model)
    assert lora.add(model, {**SETTINGS, "targets": ["patch_embedding"]}, 0) == 1  # a convolution
    perturb(model)
    after = predict("wan-tiny", model)
    lora.merge(model)
    torch.testing.assert_close(predict("wan-tiny", model), after, rtol=1e-4, atol=1e-5)


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = denoisers.build("wan-tiny", 0)
    with pytest.raises(lora.LoraError, match=r"lora\.targets: 'to_query' does not name .* it has .*to_k, .*to_out\.0"):
        lora.add(model, {**SETTINGS, "targets": ["to_q", "to_query"]}, 0)
    with pytest.raises(lora.LoraError, match=r"lora\.targets: 'rope' does not name"):
        lora.add(model, {**SETTINGS, "targets": ["to_q", "rope"]}, 0)
    assert not lora.adapted(model) and all(weight.requires_grad for weight in model.parameters())
    with pytest.raises(lora.LoraError, match=r"holds no pytorch_lora_weights\.safetensors"):
        lora.load(model, tmp_path)
    lora.add(model, SETTINGS, 0)
    with pytest.raises(lora.LoraError, match="has adapters already"):
        lora.add(model, SETTINGS, 0)
    lora.save(model, tmp_path)
    with pytest.raises(lora.LoraError, match="tensors differ"):
        lora.load(denoisers.build("tiny-dit", 0), tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(lora.LoraError, match=r"install vid_assets\[lora\]"):
        lora.add(denoisers.build("wan-tiny", 0), SETTINGS, 0)
