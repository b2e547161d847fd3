"""Flow matching: what a denoiser is trained to predict, at which times, and how it is sampled from.

The straight path of Lipman et al., 2023 (arXiv:2210.02747) in the notation of Stable Diffusion 3 (Esser et al., 2024,
arXiv:2403.03206): x_t = (1 - t) x + t n, and the model predicts dx_t/dt = n - x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class FlowMatching:
    """The objective with a time shift.

    Args:
        shift: s in t' = s t / (1 + (s - 1) t), which moves times towards noise (eq. 23 of arXiv:2403.03206).
        time_sampling: `logit_normal`, t = sigmoid(N(0, 1)), or `uniform`; both before the shift.
    """

    def __init__(self, shift: float, time_sampling: str) -> None:
        if time_sampling not in ("logit_normal", "uniform"):
            raise ValueError(f"{time_sampling!r} is no time sampling; known are logit_normal, uniform")
        self.shift, self.time_sampling = shift, time_sampling

    def sample_times(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Training times (count,), in (0, 1), on the CPU."""
        if self.time_sampling == "logit_normal":
            times = torch.sigmoid(torch.randn(count, generator=generator))
        else:
            times = torch.rand(count, generator=generator)
        return self.shifted(times)

    def shifted(self, times: torch.Tensor) -> torch.Tensor:
        """`times` after the shift; 0 and 1 stay."""
        return self.shift * times / (1 + (self.shift - 1) * times)

    def loss(self, predict: Predict, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Squared error of the prediction for each sample, (B,): the mean over channels, frames, height and width.

        Args:
            predict: (noisy (B, C, f, h, w), times (B,)) -> prediction of n - x.
            data: normalised latents x, (B, C, f, h, w).
            noise: n ~ N(0, 1), of the same shape.
            times: t, (B,).
        """
        t = times.view(-1, *[1] * (data.ndim - 1))
        prediction = predict((1 - t) * data + t * noise, times)
        return (prediction.float() - (noise - data).float()).square().flatten(1).mean(1)

    def generate(self, predict: Predict, noise: torch.Tensor, steps: int) -> torch.Tensor:
        """Latents that the model makes of `noise` in `steps` Euler steps from t = 1 to t = 0.

        The schedule is diffusers' `FlowMatchEulerDiscreteScheduler` on times 1, 1 - 1/steps, ..., shifted once.
        """
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler(shift=self.shift)
        # Its own default starts from a smallest time that is already shifted, and shifts that once more.
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        latents = noise
        for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
            velocity = predict(latents, sigma.expand(len(latents)).to(latents.device))
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents
