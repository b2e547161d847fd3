"""Flow matching: the straight path from data to noise, as HunyuanVideo, Wan and LTX-Video are trained.

Lipman et al., 2023 (arXiv:2210.02747) in the notation of Stable Diffusion 3 (Esser et al., 2024, arXiv:2403.03206):
x_t = (1 - t) x + t n, and the model predicts dx_t/dt = n - x. Its time embedding was made for 1000 t.

It is sampled by Euler steps for all three families. Wan's own pipeline takes UniPC, a multistep solver of the same ODE
on the same shifted times: it needs fewer steps, but its order depends on how many have been made, which a comparison of
checkpoints at few steps should not. A checkpoint works with either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import PlainValidator

from model.objectives.base import (
    Finite,
    Noised,
    Objective,
    ObjectiveError,
    ObjectiveSettings,
    Positive,
    one_of,
    per_sample,
    positive,
)

if TYPE_CHECKING:
    import torch

    from model.objectives.base import Predict

_STEPS = 1000.0

#: LTX-Video's published scheduler: mu of the shift exp(mu) is linear in the tokens, and the last time is 0.1.
_DYNAMIC: dict[str, Any] = {
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "shift_terminal": 0.1,
}


def _shift(value: Any) -> Any:
    return value if value == "dynamic" else positive(value, " or dynamic")


class FlowMatchingSettings(ObjectiveSettings):
    """The shift of the times, and how they are drawn.

    Attributes:
        shift: s in t' = s t / (1 + (s - 1) t), > 0, which moves times towards noise; `dynamic` for LTX-Video's, which
            grows with the number of latent positions.
        time_sampling: how t is drawn before the shift: `logit_normal` or `uniform`.
        logit_mean, logit_std: mean and standard deviation (> 0) of logit t, for `logit_normal`.
    """

    name: Literal["flow_matching"] = "flow_matching"
    shift: Annotated[int | float | Literal["dynamic"], PlainValidator(_shift)] = 1.0
    time_sampling: Annotated[str, one_of("logit_normal", "uniform")] = "logit_normal"
    logit_mean: Finite = 0.0
    logit_std: Positive = 1.0

    @property
    def needs_positions(self) -> bool:
        return self.shift == "dynamic"


class FlowMatching(Objective):
    """Times are t: 0 is data, 1 is noise."""

    settings_class = FlowMatchingSettings

    def __init__(self, settings: FlowMatchingSettings) -> None:
        self.settings = settings

    def sample_times(self, count: int, generator: torch.Generator, tokens: int) -> torch.Tensor:
        import torch

        settings = self.settings
        if settings.time_sampling == "uniform":
            times = torch.rand(count, generator=generator)
        else:
            logits = torch.randn(count, generator=generator) * settings.logit_std + settings.logit_mean
            times = torch.sigmoid(logits)
        return self._shifted(times, tokens)

    def quantiles(self, shares: torch.Tensor, tokens: int) -> torch.Tensor:
        import torch

        settings = self.settings
        if settings.time_sampling == "logit_normal":
            shares = torch.sigmoid(torch.special.ndtri(shares) * settings.logit_std + settings.logit_mean)
        return self._shifted(shares, tokens).float()

    def noised(self, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> Noised:
        t = per_sample(times, data)
        return Noised((1 - t) * data + t * noise, times.to(data.device) * _STEPS, (noise - data).float())

    def scheduler_config(self) -> dict[str, Any]:
        shift = self.settings.shift
        own = {"shift": 1.0, "use_dynamic_shifting": True, **_DYNAMIC} if shift == "dynamic" else {"shift": shift}
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": int(_STEPS), **own}

    def generate(self, predict: Predict, noise: torch.Tensor, steps: int, tokens: int) -> torch.Tensor:
        dynamic = self.settings.shift == "dynamic"
        if steps < (2 if dynamic else 1):
            raise ObjectiveError(f"{steps} sampling steps: with shift {self.settings.shift} at least {1 + dynamic}")
        scheduler = self.scheduler()
        # As in the families' pipelines. The scheduler's own default starts from a smallest time that is already
        # shifted, and shifts that once more.
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], mu=_mu(tokens) if dynamic else None)
        latents = noise
        for timestep in scheduler.timesteps:
            output = predict(latents, timestep.expand(len(latents)).to(latents.device))
            latents = scheduler.step(output.float(), timestep, latents, return_dict=False)[0]
        return latents

    def _shifted(self, times: torch.Tensor, tokens: int) -> torch.Tensor:
        """t' = s t / (1 + (s - 1) t), eq. 23 of arXiv:2403.03206; 0 and 1 stay."""
        shift = math.exp(_mu(tokens)) if self.settings.shift == "dynamic" else float(self.settings.shift)
        return shift * times / (1 + (shift - 1) * times)


def _mu(tokens: int) -> float:
    """Logarithm of LTX-Video's shift: 0.95 at 1024 tokens, 2.05 at 4096, and the straight line through both."""
    first, last = _DYNAMIC["base_image_seq_len"], _DYNAMIC["max_image_seq_len"]
    low, high = _DYNAMIC["base_shift"], _DYNAMIC["max_shift"]
    return low + (high - low) * (tokens - first) / (last - first)
