"""The memory plan: fake passes hold what real ones hold, and the plan's choices and refusals follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.compute.numerics import autocast
from model.errors import ModelError
from model.memory import activation
from model.memory import plan as memory
from model.memory.case import GIB, Case, choose, latent_shape
from model.memory.options import DoesNotFitError, options, refusal
from model.memory.tracker import Tracker, as_on_cuda, backward
from model.recipe import Optimizer

FAMILIES = ("svd-tiny", "cogvideox-tiny", "hunyuan-video-tiny", "wan-tiny", "ltx-video-tiny")
LORA = {"rank": 2, "alpha": 2.0, "targets": None, "dropout": 0.0}


def case_of(name: str, **changes: object) -> Case:
    return replace(Case(name, (3, 8, 8), samples=2, text_tokens=8, device="cpu", precision="fp32"), **changes)


def held_by_autograd(case: Case, policy: str) -> int:
    """Bytes that autograd keeps for the backward pass of a real model, by its own hooks; weights and input aside."""
    model = memory._model(case, "cpu")
    activation.apply(model, policy)
    latents, predict = memory._call(case, model)
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers(), latents)}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast("cpu", case.precision):
        loss = (predict() - latents).square().flatten(1).mean(1).mean()
    assert loss.requires_grad
    return sum(storage.nbytes() for key, storage in storages.items() if key not in own)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_fake_pass_saves_is_what_autograd_holds_in_a_real_one(name: str) -> None:
    case = case_of(name)
    for policy in ("none", "block"):
        predicted, held = memory.usage(case, policy).saved, held_by_autograd(case, policy)
        assert predicted == pytest.approx(held, abs=4096), policy  # the loss, and inputs that are still in scope
    if name == "cogvideox-tiny":  # one is enough: types are the same business for all
        case = case_of(name, precision="bf16")
        assert memory.usage(case, "none").saved == pytest.approx(held_by_autograd(case, "none"), rel=0.01)


@pytest.mark.parametrize("name", ["svd-tiny", "wan-tiny"])
def test_the_peak_of_a_fake_pass_is_that_of_a_real_one(name: str) -> None:
    case = case_of(name)
    fake, real = memory._measured(case, "block"), memory._measure(case, "block", fake=False)
    assert fake.peak == pytest.approx(real.peak, rel=0.01)
    assert (fake.saved, fake.flops, fake.trained) == (real.saved, real.flops, real.trained)
    assert fake.coverage == real.coverage


def test_the_svd_policies_hold_less_and_recompute_more_one_after_the_other() -> None:
    usages = memory.plan(case_of("svd-tiny"))
    assert [usage.policy for usage in usages] == ["none", "diffusers", "temporal", "attention", "block"]
    saved = [usage.saved for usage in usages]
    assert saved == sorted(saved, reverse=True) and len(set(saved)) == 5
    assert usages[0].recompute_share == 0 and usages[0].peak > usages[2].peak
    assert 0.1 < usages[1].recompute_share < usages[2].recompute_share <= 0.35  # one more forward is a third at most
    one = usages[-1]
    assert one.peak == one.weights + one.optimizer + one.averages + max(one.backward, one.step) + one.reserve
    assert (one.gradients, one.optimizer) == (one.weights, 2 * one.weights)


def test_memory_grows_with_the_samples_of_a_pass_but_not_that_of_weights() -> None:
    one, two = (memory.usage(case_of("wan-tiny", samples=count), "none") for count in (1, 2))
    assert two.saved == pytest.approx(2 * one.saved, rel=0.02)
    assert two.weights == one.weights


def test_gradients_that_are_there_before_the_pass_count_from_its_start() -> None:
    once, more = (memory.usage(case_of("wan-tiny", accumulates=flag), "none") for flag in (False, True))
    assert once.gradients <= more.backward - more.saved
    assert once.backward < more.backward <= once.backward + once.gradients + 4096


def test_adapters_have_gradients_and_an_optimiser_state_alone() -> None:
    pytest.importorskip("peft")
    whole, adapters = memory.usage(case_of("wan-tiny"), "none"), memory.usage(case_of("wan-tiny", lora=LORA), "none")
    assert adapters.weights > whole.weights
    assert adapters.gradients < 0.05 * whole.gradients
    assert adapters.optimizer == 2 * adapters.gradients == 2 * adapters.averages


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_the_state_of_the_optimiser_is_what_the_real_one_holds(name: str) -> None:
    from model.training.optimizers import make_optimizer

    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    weights = {str(size): nn.Parameter(torch.zeros(*size)) for size in ((8, 8), (64, 128), (4097,))}
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    settings = Optimizer.model_validate({"name": name, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0})
    optimizer = make_optimizer(settings, weights, 1e-3)
    optimizer.step()
    held = sum(
        value.untyped_storage().nbytes()
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key != "step" and not key.startswith("qmap")  # one map for all weights
    )
    predicted, _ = memory._optimizer_bytes(name, tuple(weight.numel() for weight in weights.values()))
    assert predicted == held


def test_autocast_picks_the_types_of_cuda_also_where_it_recomputes() -> None:
    layer = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
    seen: list[torch.dtype] = []
    layer[1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    def run() -> None:
        seen.clear()
        with autocast("cpu", "bf16"):
            output = torch.utils.checkpoint.checkpoint(layer, torch.ones(2, 8), use_reentrant=False)
        backward(output.float().sum())

    run()
    assert seen == [torch.bfloat16] * 2  # a CPU keeps the type
    with as_on_cuda():
        run()
    assert seen == [torch.float32] * 2
    with as_on_cuda():
        assert nn.functional.layer_norm(torch.ones(2, 8, dtype=torch.bfloat16), (8,)).dtype == torch.bfloat16


def test_copies_of_weights_are_told_apart_and_freed() -> None:
    weight = nn.Parameter(torch.zeros(16, 16))
    with Tracker([weight], [weight]) as tracker:
        before = tracker.live
        with autocast("cpu", "bf16"):
            output = nn.functional.linear(torch.ones(1, 16, requires_grad=True), weight)
        assert tracker.casts == 16 * 16 * 2
        backward(output.float().sum())
        del output
    assert tracker.casts == 0
    assert weight.grad is not None and tracker.live >= before + weight.grad.untyped_storage().nbytes()
    assert tracker.peak > tracker.live and tracker.flops == 3 * 2 * 16 * 16  # forward, and both gradients


def test_the_policy_that_recomputes_least_is_chosen_among_those_that_fit() -> None:
    usages = memory.plan(case_of("svd-tiny"))
    peaks = [usage.peak for usage in usages]
    assert choose(usages, peaks[0]).policy == "none"
    assert choose(usages, peaks[0] - 1).policy == "diffusers"
    assert choose(usages, peaks[1] - 1).policy == next(one.policy for one in usages[2:] if one.peak < peaks[1])
    assert choose(usages, min(peaks) - 1) is None


def test_a_case_that_fits_under_no_policy_is_refused_with_what_would_fit() -> None:
    case = case_of("wan-tiny", shape=(5, 32, 32), samples=4)
    usages = memory.plan(case, ("none", "block"))
    budget = int(min(usage.peak for usage in usages) * 0.9)
    error = refusal(case, usages, budget)
    assert isinstance(error, DoesNotFitError)
    for words in ("MiB are declared", "micro_batch: 1", "engine fsdp2", "a shorter bucket"):
        assert words in str(error)
    one = memory.usage(replace(case, samples=1, accumulates=True), min(usages, key=lambda one: one.peak).policy)
    assert one.peak <= budget
    assert "no single change" in str(refusal(case, usages, 1000))


def test_no_option_joins_what_excludes_one_another() -> None:
    for changes, left_out in (({"shards": 2}, "adamw_8bit"), ({"optimizer": "adamw_8bit"}, "fsdp2")):
        case = case_of("wan-tiny", **changes)
        usage = memory.usage(case, "none")
        words = "; ".join(options(case, usage, usage.peak))
        assert "lora of rank" in words and left_out not in words


def test_the_longest_clip_fits_and_one_more_latent_frame_does_not() -> None:
    from model.memory.options import longest

    case = case_of("wan-tiny", shape=(9, 32, 32))
    known = memory.usage(case, "block")
    budget = int(known.peak * 0.7)
    frames = longest(case, known, budget)
    latent = latent_shape("wan-tiny", frames, 256, 256)[0]
    assert 1 < latent < 9
    assert memory.usage(replace(case, shape=(latent, 32, 32)), "block").peak <= budget
    assert memory.usage(replace(case, shape=(latent + 1, 32, 32)), "block").peak > budget
    assert longest(case, known, 1000) is None


def test_dividing_over_processes_divides_what_they_share() -> None:
    one, four = (memory.usage(case_of("wan-tiny", shards=count), "block") for count in (1, 4))
    assert four.weights == -(-one.weights // 4) and four.optimizer == -(-one.optimizer // 4)
    assert four.saved == one.saved


def test_an_optimiser_of_unknown_size_is_refused() -> None:
    with pytest.raises(ModelError, match="known are adamw, adamw_fused, adamw_8bit"):
        memory.usage(case_of("wan-tiny", optimizer="sgd"), "none")


def test_a_full_size_model_is_planned_without_its_bytes() -> None:
    case = Case("wan-1.3b", latent_shape("wan-1.3b", 81, 480, 832), precision="bf16")
    found = memory._measure(case, "diffusers")
    assert found.weights == pytest.approx(4 * 1.42e9, rel=0.01)
    assert found.coverage.recomputed["WanTransformerBlock"] == found.coverage.total["WanTransformerBlock"] == 30
    # each of 30 blocks holds its input, (tokens, 1536), in 2 or 4 bytes
    tokens = 21 * 30 * 52
    assert 30 * tokens * 1536 * 2 < found.saved < 3 * 30 * tokens * 1536 * 4
    assert 10 * GIB < found.peak < 60 * GIB
