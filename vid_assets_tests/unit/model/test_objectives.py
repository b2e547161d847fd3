"""Objectives against their formulas, their published schedulers, and the sampler that each is trained for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import pytest
import torch

from model.denoisers import PRESETS
from model.objectives import make, read_settings
from model.objectives.base import Objective, ObjectiveError
from model.objectives.ddpm import DDPM

if TYPE_CHECKING:
    from model.objectives.base import Predict

TOKENS = 2 * 4 * 4
FLOW = {"name": "flow_matching", "shift": 3.0}
DYNAMIC = {"name": "flow_matching", "shift": "dynamic"}
EDM = {"name": "edm"}
COGVIDEOX = {"name": "ddpm", "snr_shift_scale": 3.0}
WITHOUT_ZERO = {"name": "ddpm", "snr_shift_scale": 1.0, "zero_terminal_snr": False}
ALL = [FLOW, DYNAMIC, EDM, COGVIDEOX, WITHOUT_ZERO]
IDS = ["flow", "dynamic", "edm", "cogvideox", "without-zero-snr"]


def normal(seed: int, count: int = 5) -> torch.Tensor:
    return torch.randn(count, 4, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def perfect(settings: dict[str, Any], data: torch.Tensor) -> Predict:
    """The denoiser that knows the data: from its input and timestep it works out the noise, and from that its output.

    In float64, from the definitions and not from the objectives' code.
    """

    def predict(model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        x, t = data.double(), timestep.double().view(-1, 1, 1, 1, 1)
        if settings["name"] == "flow_matching":
            return ((model_input - x) / (t / 1000)).float()
        if settings["name"] == "edm":
            sigma = torch.exp(4 * t)
            c_skip, c_out = 1 / (sigma**2 + 1), -sigma / (sigma**2 + 1).sqrt()
            noisy = model_input * (sigma**2 + 1).sqrt()
            return ((x - c_skip * noisy) / c_out).float()
        alpha_bar = table(settings)[timestep.long()].view(-1, 1, 1, 1, 1)
        noise = (model_input - alpha_bar.sqrt() * x) / (1 - alpha_bar).sqrt()
        return (alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x).float()

    return predict


def table(settings: dict[str, Any]) -> torch.Tensor:
    """The shares of signal of CogVideoX's 1000 steps, by the formulas of its papers."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).cumprod(0)
    scale = settings["snr_shift_scale"]
    snr = alpha_bar / (1 - alpha_bar) / scale
    signal = (snr / (1 + snr)).sqrt()
    if settings.get("zero_terminal_snr", True):
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return signal**2


@pytest.mark.parametrize("settings", ALL, ids=IDS)
def test_a_perfect_predictor_has_no_loss_and_a_wrong_one_has_some(settings: dict[str, Any]) -> None:
    objective, data, noise = make(settings), normal(0), normal(1)
    times = objective.fixed_times(TOKENS)
    assert objective.loss(perfect(settings, data), data, noise, times).max() < 1e-9
    wrong = objective.loss(perfect(settings, data + 0.1), data, noise, times)
    assert wrong.min() > 1e-5 and wrong.shape == (5,)
    # of each sample alone
    first = objective.loss(perfect(settings, data[:1]), data[:1], noise[:1], times[:1])
    assert first.shape == (1,) and first.max() < 1e-9


@pytest.mark.parametrize("steps", [2, 3, 7, 30])
@pytest.mark.parametrize("settings", ALL, ids=IDS)
def test_the_scheduler_with_a_perfect_predictor_gives_the_data(settings: dict[str, Any], steps: int) -> None:
    data = normal(0, 2)
    made = make(settings).generate(perfect(settings, data), normal(1, 2), steps, TOKENS)
    np.testing.assert_allclose(made, data, atol=1e-5)


@pytest.mark.parametrize("settings", ALL[:4], ids=IDS[:4])
def test_the_sampler_walks_the_inputs_of_training(settings: dict[str, Any]) -> None:
    """With a perfect predictor, every input that the sampler makes is one that training makes of this data and noise.

    So scales of inputs, timesteps and noise levels agree between `noised` and diffusers' scheduler. (Without zero
    terminal SNR they do not: sampling starts from more noise than training has.)
    """
    data, noise, objective = normal(0, 2), normal(1, 2), make(settings)
    right, seen = perfect(settings, data), []

    def predict(model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append((model_input, timestep))
        return right(model_input, timestep)

    objective.generate(predict, noise, 8, TOKENS)
    assert len(seen) == 8
    for model_input, timestep in seen:
        expected = objective.noised(data, noise, time_of(settings, timestep))
        np.testing.assert_allclose(expected.timestep, timestep, rtol=1e-5, atol=1e-6)
        # EDM's sampler starts from 700 n, training from x + 700 n
        np.testing.assert_allclose(expected.model_input, model_input, atol=6e-3)


def time_of(settings: dict[str, Any], timestep: torch.Tensor) -> torch.Tensor:
    if settings["name"] == "edm":
        return torch.exp(4 * timestep)
    return timestep / 1000 if settings["name"] == "flow_matching" else timestep.float()


def test_wans_own_sampler_takes_the_same_model() -> None:
    data = normal(0, 2)
    scheduler: Any = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    scheduler.set_timesteps(8)
    latents, right = normal(1, 2), perfect(FLOW, data)
    for timestep in scheduler.timesteps:
        # its timesteps are rounded down to whole numbers, so the model that knows the noise level is asked for it
        sigma = scheduler.sigmas[scheduler.step_index or 0]
        latents = scheduler.step(right(latents, (1000 * sigma).expand(2)), timestep, latents, return_dict=False)[0]
    np.testing.assert_allclose(latents, data, atol=1e-3)


def test_cogvideoxs_other_sampler_takes_the_same_model() -> None:
    objective = make(COGVIDEOX)
    scheduler: Any = diffusers.CogVideoXDPMScheduler.from_config(objective.scheduler_config())
    scheduler.set_timesteps(10)
    data, latents = normal(0, 2), normal(1, 2)
    old: Any = None
    before: Any = None
    right, generator = perfect(COGVIDEOX, data), torch.Generator().manual_seed(0)
    for timestep in scheduler.timesteps:
        output = right(latents, timestep.expand(2))
        latents, old = scheduler.step(output, old, timestep, before, latents, generator=generator, return_dict=False)
        before = timestep
    np.testing.assert_allclose(old, data, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 1.0, 7.0, 700.0])
def test_edm_is_the_weighted_loss_of_the_preconditioned_denoiser(sigma: float) -> None:
    data, noise, times = normal(0, 1), normal(1, 1), torch.tensor([sigma])
    seen: dict[str, torch.Tensor] = {}

    def predict(model_input: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.update(model_input=model_input, timestep=timestep)
        return 0.3 * model_input + 0.1

    loss = make(EDM).loss(predict, data, noise, times)
    assert float(seen["timestep"]) == pytest.approx(0.25 * math.log(sigma), rel=1e-6)
    noisy = data.double() + sigma * noise.double()
    c_in, c_skip, c_out = (sigma**2 + 1) ** -0.5, 1 / (sigma**2 + 1), -sigma / (sigma**2 + 1) ** 0.5
    np.testing.assert_allclose(seen["model_input"], c_in * noisy, rtol=1e-5, atol=1e-6)
    denoised = c_skip * noisy + c_out * (0.3 * c_in * noisy + 0.1)
    weight = (1 + sigma**2) / sigma**2
    assert float(loss) == pytest.approx(float(weight * (denoised - data).square().mean()), rel=1e-4)
    # inputs and targets have unit variance for data of unit variance, whatever the noise level
    many, other = normal(2, 200), normal(3, 200)
    noised = make(EDM).noised(many, other, times.expand(200))
    assert float(noised.model_input.var()) == pytest.approx(1, abs=0.05)
    assert float(noised.target.var()) == pytest.approx(1, abs=0.05)


def test_the_terminal_snr_is_zero_and_shifted_before() -> None:
    for settings in (COGVIDEOX, {"name": "ddpm", "snr_shift_scale": 1.0}, WITHOUT_ZERO):
        objective = make(settings)
        assert isinstance(objective, DDPM)
        np.testing.assert_allclose(objective.alpha_bar, table(settings), atol=1e-12)
        assert bool((objective.alpha_bar.diff() < 0).all())
        assert (float(objective.alpha_bar[-1]) == 0.0) == (settings is not WITHOUT_ZERO)
    last = torch.full((5,), 999.0)
    noised = make(COGVIDEOX).noised(normal(0), normal(1), last)
    assert torch.equal(noised.model_input, normal(1))  # pure noise, and the target is the data
    assert torch.equal(noised.target, -normal(0))


def test_the_dynamic_shift_is_ltx_videos() -> None:
    objective = make(DYNAMIC)
    scheduler: Any = objective.scheduler()
    shares = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for tokens in (32, 1024, 2000, 4096, 6000):
        mu = 0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024)
        expected = scheduler.time_shift(mu, 1.0, torch.sigmoid(torch.special.ndtri(shares)))
        np.testing.assert_allclose(objective.quantiles(shares, tokens), expected, rtol=1e-5)
    # published: exp(0.95) at 1024 tokens, exp(2.05) at 4096, and the logit of a time grows by the logarithm
    half = torch.tensor([0.5], dtype=torch.float64)
    for tokens, mu in ((1024, 0.95), (4096, 2.05)):
        assert float(torch.logit(objective.quantiles(half, tokens))) == pytest.approx(mu, rel=1e-5)


@pytest.mark.parametrize(
    "settings", [*ALL, {**FLOW, "time_sampling": "uniform"}, {**FLOW, "logit_mean": 1.0, "logit_std": 0.5}]
)
def test_times_are_drawn_from_the_distribution_whose_quantiles_are_compared(settings: dict[str, Any]) -> None:
    objective = make(settings)
    times = objective.sample_times(20000, torch.Generator().manual_seed(0), 2000)
    assert times.shape == (20000,) and times.dtype == torch.float32
    shares = [(times <= time).double().mean() for time in objective.fixed_times(2000)]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.012)
    assert torch.equal(times, objective.sample_times(20000, torch.Generator().manual_seed(0), 2000))


def test_flow_times_have_the_declared_parameters() -> None:
    logits = torch.logit(
        make({**FLOW, "logit_mean": 1.0, "logit_std": 0.5}).sample_times(20000, torch.Generator().manual_seed(0), 1)
    )
    # a shift of s adds ln s to the logit
    assert float(logits.mean()) == pytest.approx(1.0 + math.log(3.0), abs=0.02)
    assert float(logits.std()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "score"}, "objective.name 'score': known are flow_matching, edm, ddpm"),
        ({}, "objective.name None"),
        ({"name": "edm", "shift": 1.0}, "objective.shift: edm has no such key, its keys are p_mean, p_std"),
        ({"name": "flow_matching", "shift": 0}, "objective.shift must be above 0 or dynamic, not 0"),
        ({"name": "flow_matching", "shift": "auto"}, "objective.shift must be a finite number or dynamic"),
        (
            {"name": "flow_matching", "time_sampling": "normal"},
            "time_sampling 'normal': known are logit_normal, uniform",
        ),
        ({"name": "edm", "sigma_min": 2, "sigma_max": 1}, "sigma_min 2 is not below sigma_max 1"),
        ({"name": "edm", "p_std": float("nan")}, "p_std must be a finite number"),
        ({"name": "ddpm", "prediction": "epsilon"}, "prediction 'epsilon': known are v"),
        ({"name": "ddpm", "zero_terminal_snr": 1}, "zero_terminal_snr 1: known are True, False"),
    ],
)
def test_wrong_settings_name_the_key_and_what_it_takes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        make(settings)


@pytest.mark.parametrize(("settings", "steps"), [(FLOW, 0), (DYNAMIC, 1), (EDM, 0), (COGVIDEOX, 1001), (COGVIDEOX, 61)])
def test_a_number_of_steps_that_the_scheduler_cannot_take_is_refused(settings: dict[str, Any], steps: int) -> None:
    with pytest.raises(ObjectiveError, match=f"{steps} sampling steps"):
        make(settings).generate(lambda noisy, at: noisy, normal(0), steps, TOKENS)


def test_every_preset_has_an_objective_and_settings_survive_a_manifest() -> None:
    for preset in PRESETS.values():
        settings = preset.objective
        assert read_settings(settings.model_dump()) == settings
        objective: Objective = make(preset.objective)
        assert (
            getattr(diffusers, objective.scheduler_config()["_class_name"]).__name__
            == type(objective.scheduler()).__name__
        )
