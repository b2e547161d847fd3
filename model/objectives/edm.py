"""EDM (Karras et al., 2022, arXiv:2206.00364) with the preconditioning of Stable Video Diffusion (arXiv:2311.15127).

A noisy latent is x + sigma n. The denoiser F sees it scaled to unit variance and gives, in place of the data,
    D = c_skip (x + sigma n) + c_out F(c_in (x + sigma n), c_noise)
with c_skip = 1 / (sigma^2 + 1), c_out = -sigma / sqrt(sigma^2 + 1), c_in = 1 / sqrt(sigma^2 + 1) and
c_noise = ln(sigma) / 4. The loss of D is weighted by (1 + sigma^2) / sigma^2 = 1 / c_out^2, which makes it the plain
squared error of F against the v of v-prediction, (n - sigma x) / sqrt(sigma^2 + 1): computed in this form here, where
nothing is divided by a small number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationInfo, field_validator

from model.objectives.base import Finite, Noised, Objective, ObjectiveError, ObjectiveSettings, Positive, per_sample

if TYPE_CHECKING:
    import torch

    from model.objectives.base import Predict


class EDMSettings(ObjectiveSettings):
    """The noise levels of training and of sampling.

    Attributes:
        p_mean, p_std: mean and standard deviation (> 0) of ln sigma in training.
        sigma_max, sigma_min: largest and smallest noise level of the sampler, 0 < sigma_min < sigma_max. Training is
            not cut off there.
    """

    name: Literal["edm"] = "edm"
    p_mean: Finite = 0.7
    p_std: Positive = 1.6
    sigma_max: Positive = 700.0
    sigma_min: Positive = 0.002

    @field_validator("sigma_min")
    @classmethod
    def _below_the_largest(cls, value: float, info: ValidationInfo) -> float:
        largest = info.data.get("sigma_max", math.inf)
        if value >= largest:
            raise ValueError(f"{value:g} is not below sigma_max {largest:g}")
        return value


class EDM(Objective):
    """Times are noise levels sigma > 0, with ln sigma ~ N(p_mean, p_std^2) in training."""

    settings_class = EDMSettings

    def __init__(self, settings: EDMSettings) -> None:
        self.settings = settings

    def sample_times(self, count: int, generator: torch.Generator, tokens: int) -> torch.Tensor:
        import torch

        normal = torch.randn(count, generator=generator)
        return torch.exp(normal * self.settings.p_std + self.settings.p_mean)

    def quantiles(self, shares: torch.Tensor, tokens: int) -> torch.Tensor:
        import torch

        return torch.exp(torch.special.ndtri(shares) * self.settings.p_std + self.settings.p_mean).float()

    def noised(self, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> Noised:
        sigma = per_sample(times, data)
        c_in = (sigma.square() + 1).rsqrt()
        timestep = 0.25 * times.to(data.device).log()
        return Noised(c_in * (data + sigma * noise), timestep, (c_in * (noise - sigma * data)).float())

    def scheduler_config(self) -> dict[str, Any]:
        """SVD's published one: Karras' spacing of noise levels; the betas only serve a check in the class."""
        return {
            "_class_name": "EulerDiscreteScheduler",
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "interpolation_type": "linear",
            "prediction_type": "v_prediction",
            "timestep_type": "continuous",
            "timestep_spacing": "leading",
            "steps_offset": 1,
            "use_karras_sigmas": True,
            "sigma_min": self.settings.sigma_min,
            "sigma_max": self.settings.sigma_max,
        }

    def generate(self, predict: Predict, noise: torch.Tensor, steps: int, tokens: int) -> torch.Tensor:
        if steps < 1:
            raise ObjectiveError(f"{steps} sampling steps: at least 1")
        scheduler = self.scheduler()
        scheduler.set_timesteps(steps)
        latents = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            model_input = scheduler.scale_model_input(latents, timestep)
            output = predict(model_input, timestep.expand(len(latents)).to(latents.device))
            latents = scheduler.step(output.float(), timestep, latents, return_dict=False)[0]
        return latents
