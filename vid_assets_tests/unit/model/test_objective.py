"""Flow matching: its formula, its times, and its sampler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import denoiser
from model.objective import FlowMatching


@pytest.fixture
def data() -> torch.Tensor:
    return torch.randn(3, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise(data: torch.Tensor) -> torch.Tensor:
    return torch.randn(data.shape, generator=torch.Generator().manual_seed(1))


def test_a_perfect_predictor_has_no_loss_and_a_wrong_one_its_squared_error(
    data: torch.Tensor, noise: torch.Tensor
) -> None:
    flow, times = FlowMatching(3.0, "logit_normal"), torch.tensor([0.1, 0.5, 0.9])

    def perfect(noisy: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        t = at.view(-1, 1, 1, 1, 1)
        return (noisy - data) / t  # from x_t = (1 - t) x + t n: n - x = (x_t - x) / t

    assert flow.loss(perfect, data, noise, times).max() < 1e-10
    zero = flow.loss(lambda noisy, at: torch.zeros_like(noisy), data, noise, times)
    np.testing.assert_allclose(zero, (noise - data).square().mean((1, 2, 3, 4)), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_sampling_with_a_perfect_predictor_gives_the_data(data: torch.Tensor, noise: torch.Tensor, steps: int) -> None:
    seen: list[float] = []

    def perfect(noisy: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        seen.append(float(at[0]))
        return (noisy - data) / at.view(-1, 1, 1, 1, 1)

    flow = FlowMatching(3.0, "logit_normal")
    np.testing.assert_allclose(flow.generate(perfect, noise, steps), data, atol=1e-4)
    expected = flow.shifted(torch.tensor([1 - step / steps for step in range(steps)]))
    np.testing.assert_allclose(seen, expected, rtol=1e-5)  # the times of training, shifted once


def test_times_follow_the_declared_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = FlowMatching(1.0, "logit_normal").sample_times(20000, generator)
    np.testing.assert_allclose(torch.logit(normal).std(), 1.0, atol=0.03)
    uniform = FlowMatching(3.0, "uniform").sample_times(20000, generator)
    # the inverse of the shift brings back the uniform distribution
    back = uniform / (3.0 - 2.0 * uniform)
    np.testing.assert_allclose(np.quantile(back, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)
    assert uniform.median() > 0.7
    with pytest.raises(ValueError, match="known are logit_normal, uniform"):
        FlowMatching(1.0, "normal")


def test_the_denoiser_is_seeded_and_uses_time_and_text() -> None:
    noisy, times = torch.randn(2, 16, 2, 4, 4), torch.tensor([0.2, 0.8])
    model = denoiser.build("tiny-dit", 0)
    assert 0.5e6 < sum(parameter.numel() for parameter in model.parameters()) < 2e6
    with torch.no_grad():
        none = denoiser.predict(model, noisy, times, [None, None])
        assert none.shape == noisy.shape
        assert torch.equal(none, denoiser.predict(denoiser.build("tiny-dit", 0), noisy, times, [None, None]))
        assert not torch.allclose(none, denoiser.predict(denoiser.build("tiny-dit", 1), noisy, times, [None, None]))
        text = denoiser.predict(model, noisy, times, [torch.ones(3, 64), None])
        assert not torch.allclose(text[0], none[0])
        assert not torch.allclose(denoiser.predict(model, noisy, times / 2, [None, None]), none)
    with pytest.raises(ValueError, match="known are tiny-dit"):
        denoiser.build("huge-dit", 0)
