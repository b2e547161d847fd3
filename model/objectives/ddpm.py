"""DDPM with v-prediction, zero terminal SNR and a shift of the SNR, as CogVideoX (arXiv:2408.06072) is trained.

x_t = sqrt(a_t) x + sqrt(1 - a_t) n at 1000 steps, and the model predicts v = sqrt(a_t) n - sqrt(1 - a_t) x (Salimans
and Ho, 2022, arXiv:2202.00512). CogVideoX weights the error of x by 1 / (1 - a_t), which is the plain squared error of
v. Zero terminal SNR (Lin et al., 2024, arXiv:2305.08891) makes the last a_t exactly 0, so that sampling starts from
what training saw. The table of a_t is the scheduler's own, so that both cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from model.objectives.base import (
    Noised,
    Objective,
    ObjectiveError,
    ObjectiveSettings,
    Positive,
    one_of,
    per_sample,
)

if TYPE_CHECKING:
    import torch

    from model.objectives.base import Predict

_STEPS = 1000


class DDPMSettings(ObjectiveSettings):
    """The schedule of the noise.

    Attributes:
        snr_shift_scale: s in alpha_bar' = alpha_bar / (s + (1 - s) alpha_bar), > 0, which divides the signal-to-noise
            ratio by s: 3 for CogVideoX-2B, 1 for 5B.
        zero_terminal_snr: rescale the schedule so that its last step is pure noise.
        prediction: `v`, the only one that is defined at a signal of zero.
    """

    name: Literal["ddpm"] = "ddpm"
    snr_shift_scale: Positive = 3.0
    zero_terminal_snr: Annotated[bool, one_of(True, False)] = True
    prediction: Annotated[str, one_of("v")] = "v"


class DDPM(Objective):
    """Times are indices 0 to 999 of the schedule, as whole float32 numbers, all equally likely in training."""

    settings_class = DDPMSettings

    def __init__(self, settings: DDPMSettings) -> None:
        self.settings = settings
        #: a_t, the share of the signal in the variance at each index, (1000,), float64.
        self.alpha_bar: torch.Tensor = self.scheduler().alphas_cumprod

    def sample_times(self, count: int, generator: torch.Generator, tokens: int) -> torch.Tensor:
        import torch

        return torch.randint(_STEPS, (count,), generator=generator).float()

    def quantiles(self, shares: torch.Tensor, tokens: int) -> torch.Tensor:
        return (shares * _STEPS).floor().float()

    def noised(self, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> Noised:
        index = times.long()
        alpha_bar = self.alpha_bar[index.cpu()]
        signal, sigma = (per_sample(part.sqrt().float(), data) for part in (alpha_bar, 1 - alpha_bar))
        return Noised(signal * data + sigma * noise, index.to(data.device), (signal * noise - sigma * data).float())

    def scheduler_config(self) -> dict[str, Any]:
        return {
            "_class_name": "CogVideoXDDIMScheduler",
            "num_train_timesteps": _STEPS,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": self.settings.zero_terminal_snr,
            "snr_shift_scale": self.settings.snr_shift_scale,
            "timestep_spacing": "trailing",  # starts from the last step, whose SNR is the terminal one
            "set_alpha_to_one": True,
            "clip_sample": False,
        }

    def generate(self, predict: Predict, noise: torch.Tensor, steps: int, tokens: int) -> torch.Tensor:
        if not 1 <= steps <= _STEPS:
            raise ObjectiveError(f"{steps} sampling steps: from 1 to {_STEPS}")
        scheduler = self.scheduler()
        scheduler.set_timesteps(steps)
        if len(scheduler.timesteps) != steps:  # 61 is the first of 62 numbers that diffusers divides 1000 wrongly by
            raise ObjectiveError(f"{steps} sampling steps: diffusers' scheduler makes another number; take another")
        latents = clean = noise
        for timestep in scheduler.timesteps:
            output = predict(latents, timestep.expand(len(latents)).to(latents.device))
            latents, clean = scheduler.step(output.float(), int(timestep), latents, return_dict=False)
        # Where 1000 / steps is rounded up, the scheduler's last step ends at index 0 and leaves its noise in. What that
        # step took for the data is without; in all other cases the two are the same.
        return clean
