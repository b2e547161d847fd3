"""Low-rank adapters on a tiny denoiser of each family: added, trained, saved, read by peft, and merged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import diffusers
import peft
import pytest
import torch
from safetensors import safe_open
from torch import nn

from model import denoisers
from model.denoisers import lora, models, preset
from model.denoisers.conditions import Conditions
from model.recipe import Lora
from model.vaes import latent_space
from vid_assets_tests.unit.model.denoising import TINY

SETTINGS: dict[str, Any] = {"rank": 4, "alpha": 8.0, "targets": None, "dropout": 0.0}


def predict(name: str, model: nn.Module) -> torch.Tensor:
    chosen, generator = preset(name), torch.Generator().manual_seed(0)
    noisy = torch.randn(1, latent_space(chosen.latent_family).channels, 2, 8, 8, generator=generator)
    states: Any = [torch.randn(3, 64, generator=generator)]
    conditions = Conditions({"text": states, "image": states}, [None], text_tokens=chosen.text_tokens)
    return denoisers.family(chosen.family).predict(model, noisy, torch.tensor([300.0]), conditions)


def read_by_peft(model: nn.Module, folder: Path) -> int:
    """Give a model the adapters in a folder, as peft reads them; how many layers were adapted."""
    with safe_open(folder / lora.FILE, framework="pt") as file:
        named = json.loads(file.metadata()["lora_adapter_metadata"])
        tensors = {name.partition(".")[2]: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = peft.LoraConfig(**{name.partition(".")[2]: value for name, value in named.items()})
    peft.inject_adapter_in_model(config, model)
    told = peft.set_peft_model_state_dict(model, tensors)
    assert not told.unexpected_keys and not [name for name in told.missing_keys if "lora" in name]
    return len(lora.adapted(model))


@torch.no_grad()
def perturb(model: nn.Module) -> None:
    """Stands for training: moves every trainable weight."""
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.add_(torch.randn_like(weight) * 0.1)


@pytest.mark.parametrize("name", TINY)
def test_adapters_alone_are_trained_saved_and_merged(name: str, tmp_path: Path) -> None:
    model = models.build(name, 0)
    frozen = {key: value.clone() for key, value in model.state_dict().items()}
    before = predict(name, model).detach()
    layers = lora.add(model, Lora(**SETTINGS), 3)
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
    loaded = models.build(name, 0)
    assert read_by_peft(loaded, tmp_path) == layers
    torch.testing.assert_close(predict(name, loaded), after, rtol=1e-5, atol=1e-6)

    lora.merge(model)
    assert not lora.adapted(model) and model.state_dict().keys() == frozen.keys()
    assert all(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(predict(name, model), after, rtol=1e-4, atol=1e-5)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, frozen[key])]
    assert len(changed) == layers and all(".to_" in key for key in changed)
    model.save_pretrained(str(tmp_path / "merged"))  # type: ignore[operator]
    again = models.load(tmp_path / "merged", preset(name).family)
    torch.testing.assert_close(predict(name, again), predict(name, model), rtol=1e-5, atol=1e-6)
    assert lora.add(again, Lora(**SETTINGS), 0) == layers  # the next stage adapts it anew


def test_a_pipeline_of_diffusers_loads_what_was_saved(tmp_path: Path) -> None:
    model = models.build("wan-tiny", 0)
    lora.add(model, Lora(**SETTINGS), 0)
    perturb(model)
    lora.save(model, tmp_path)
    plain: Any = models.build("wan-tiny", 0)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipeline = diffusers.WanPipeline(None, None, None, scheduler, transformer=plain)
    pipeline.load_lora_weights(tmp_path)
    torch.testing.assert_close(predict("wan-tiny", plain), predict("wan-tiny", model))


def test_equal_seeds_give_equal_adapters_and_targets_choose_the_layers() -> None:
    first, second, third = (models.build("wan-tiny", 0) for _ in range(3))
    state = torch.random.get_rng_state()
    for model, seed in ((first, 1), (second, 1), (third, 2)):
        lora.add(model, Lora(**SETTINGS), seed)
    assert torch.equal(state, torch.random.get_rng_state())
    one, two, three = (lora.state(model) for model in (first, second, third))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], three[key]) for key in one)

    model = models.build("wan-tiny", 0)
    assert lora.add(model, Lora(**{**SETTINGS, "targets": ["attn1.to_v", "ffn.net.0.proj"]}), 0) == 6
    lora.merge(model)
    assert lora.add(model, Lora(**{**SETTINGS, "targets": ["patch_embedding"]}), 0) == 1  # a convolution
    perturb(model)
    after = predict("wan-tiny", model)
    lora.merge(model)
    torch.testing.assert_close(predict("wan-tiny", model), after, rtol=1e-4, atol=1e-5)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build("wan-tiny", 0)
    with pytest.raises(lora.LoraError, match=r"lora\.targets: 'to_query' does not name .* it has .*to_k, .*to_out\.0"):
        lora.add(model, Lora(**{**SETTINGS, "targets": ["to_q", "to_query"]}), 0)
    with pytest.raises(lora.LoraError, match=r"lora\.targets: 'rope' does not name"):
        lora.add(model, Lora(**{**SETTINGS, "targets": ["to_q", "rope"]}), 0)
    assert not lora.adapted(model) and all(weight.requires_grad for weight in model.parameters())
    lora.add(model, Lora(**SETTINGS), 0)
    with pytest.raises(lora.LoraError, match="has adapters already"):
        lora.add(model, Lora(**SETTINGS), 0)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(lora.LoraError, match=r"install vid_assets\[lora\]"):
        lora.add(models.build("wan-tiny", 0), Lora(**SETTINGS), 0)
