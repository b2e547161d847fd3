"""The settings of each objective, their defaults and their checks; no torch, so that checking a config costs little.

An objective is named by a mapping with `name` and that objective's own keys, as in a preset or a training manifest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from model.errors import ModelError


class ObjectiveError(ModelError):
    """Settings that no objective has; the message names the key and the values that it takes."""


@dataclass(frozen=True)
class FlowMatchingSettings:
    """Straight paths from data to noise, as HunyuanVideo, Wan and LTX-Video are trained.

    Attributes:
        shift: s in t' = s t / (1 + (s - 1) t), > 0, which moves times towards noise; `dynamic` for LTX-Video's, which
            grows with the number of latent positions.
        time_sampling: how t is drawn before the shift: `logit_normal` or `uniform`.
        logit_mean, logit_std: mean and standard deviation (> 0) of logit t, for `logit_normal`.
    """

    name: ClassVar[str] = "flow_matching"
    shift: float | Literal["dynamic"] = 1.0
    time_sampling: str = "logit_normal"
    logit_mean: float = 0.0
    logit_std: float = 1.0

    def __post_init__(self) -> None:
        if self.shift != "dynamic":
            _positive("shift", self.shift, "or dynamic")
        _one_of("time_sampling", self.time_sampling, ("logit_normal", "uniform"))
        _finite("logit_mean", self.logit_mean)
        _positive("logit_std", self.logit_std)


@dataclass(frozen=True)
class EDMSettings:
    """Preconditioned denoising at continuous noise levels, as SVD is trained.

    Attributes:
        p_mean, p_std: mean and standard deviation (> 0) of ln sigma in training.
        sigma_min, sigma_max: smallest and largest noise level of the sampler, 0 < sigma_min < sigma_max. Training is
            not cut off there.
    """

    name: ClassVar[str] = "edm"
    p_mean: float = 0.7
    p_std: float = 1.6
    sigma_min: float = 0.002
    sigma_max: float = 700.0

    def __post_init__(self) -> None:
        _finite("p_mean", self.p_mean)
        _positive("p_std", self.p_std)
        _positive("sigma_min", self.sigma_min)
        _positive("sigma_max", self.sigma_max)
        if self.sigma_min >= self.sigma_max:
            raise ObjectiveError(f"objective.sigma_min {self.sigma_min:g} is not below sigma_max {self.sigma_max:g}")


@dataclass(frozen=True)
class DDPMSettings:
    """1000 discrete steps with v-prediction, as CogVideoX is trained.

    Attributes:
        snr_shift_scale: s in alpha_bar' = alpha_bar / (s + (1 - s) alpha_bar), > 0, which divides the signal-to-noise
            ratio by s: 3 for CogVideoX-2B, 1 for 5B.
        zero_terminal_snr: rescale the schedule so that its last step is pure noise.
        prediction: `v`, the only one that is defined at a signal of zero.
    """

    name: ClassVar[str] = "ddpm"
    snr_shift_scale: float = 3.0
    zero_terminal_snr: bool = True
    prediction: str = "v"

    def __post_init__(self) -> None:
        _positive("snr_shift_scale", self.snr_shift_scale)
        _one_of("zero_terminal_snr", self.zero_terminal_snr, (True, False))
        _one_of("prediction", self.prediction, ("v",))


Settings = FlowMatchingSettings | EDMSettings | DDPMSettings

#: Objective name -> its settings.
OBJECTIVES: dict[str, type[Settings]] = {each.name: each for each in (FlowMatchingSettings, EDMSettings, DDPMSettings)}

#: Denoiser family -> the objective whose timesteps its time embedding was made for.
FAMILY_OBJECTIVE = {
    "svd": "edm",
    "cogvideox": "ddpm",
    "hunyuan_video": "flow_matching",
    "wan": "flow_matching",
    "ltx_video": "flow_matching",
}


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """The settings of an objective from a mapping with `name`; keys that are left out take their defaults.

    Raises:
        ObjectiveError: an unknown name or key, or a value out of range.
    """
    name = settings.get("name")
    if name not in OBJECTIVES:
        raise ObjectiveError(f"objective.name {name!r}: known are {', '.join(OBJECTIVES)}")
    kind = OBJECTIVES[name]
    known = [field.name for field in fields(kind)]
    for key in settings:
        if key != "name" and key not in known:
            raise ObjectiveError(f"objective.{key}: {name} has no such key, its keys are {', '.join(known)}")
    return kind(**{key: value for key, value in settings.items() if key != "name"})


def as_mapping(settings: Settings) -> dict[str, Any]:
    """`name` and every key, for a manifest."""
    return {"name": settings.name, **asdict(settings)}


def _finite(key: str, value: Any, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ObjectiveError(f"objective.{key} must be a finite number {also}".rstrip() + f", not {value!r}")


def _positive(key: str, value: Any, also: str = "") -> None:
    _finite(key, value, also)
    if value <= 0:
        raise ObjectiveError(f"objective.{key} must be above 0 {also}".rstrip() + f", not {value!r}")


def _one_of(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        raise ObjectiveError(f"objective.{key} {value!r}: known are {', '.join(map(str, allowed))}")
