"""What every objective offers: noised inputs with their targets, the loss, times, and sampling by a scheduler.

Its settings are checked where a configuration is read, so nothing here imports torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    #: (model input (B, C, f, h, w), timestep (B,)) -> what the denoiser gives, (B, C, f, h, w).
    Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

#: Middles of five equally likely parts of the training times, at which losses are compared.
FIXED_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


class ObjectiveError(ModelError):
    """Something that no objective has, or cannot do; the message says what, and what there is."""


class SettingError(ObjectiveError):
    """A value that a setting does not take: its `key`, and in `words` the value and what it takes."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(f"objective.{key} {words}")
        self.key, self.words = key, words


class ObjectiveSettings(BaseModel):
    """The settings of an objective; numbers stay as they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)

    #: Of the objective, its key in `model.objectives.OBJECTIVES`.
    name: str

    def model_post_init(self, context: Any) -> None:
        """Count the name as given, so that it is never left out of what is written."""
        self.__pydantic_fields_set__.add("name")

    @property
    def needs_positions(self) -> bool:
        """Whether its times depend on how many latent positions there are."""
        return False

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """The settings in a mapping. Raises `ObjectiveError`: an unknown key, or a value out of range."""
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ", ".join(name for name in cls.model_fields if name != "name")
            name = cls.model_fields["name"].default
            raise ObjectiveError(f"objective.{key}: {name} has no such key, its keys are {known}")
        raise SettingError(key, first["msg"].removeprefix("Value error, "))


def finite(value: Any, also: str = "") -> Any:
    """`value`, if it is a finite number, and no truth value; else a `ValueError`. `also`: what else it may be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a finite number{also}, not {value!r}")
    return value


def positive(value: Any, also: str = "") -> Any:
    """`value`, if it is a number above 0; else a `ValueError`."""
    if finite(value, also) <= 0:
        raise ValueError(f"must be above 0{also}, not {value!r}")
    return value


def one_of(*allowed: Any) -> PlainValidator:
    """The check that a value is one of these."""

    def check(value: Any) -> Any:
        if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
            raise ValueError(f"{value!r}: known are {', '.join(map(str, allowed))}")
        return value

    return PlainValidator(check)


# Whole numbers stay whole, or the identity of a run whose recipe says `shift: 5` would change
Finite = Annotated[int | float, PlainValidator(finite)]
Positive = Annotated[int | float, PlainValidator(positive)]


class Noised(NamedTuple):
    """One training example of a denoiser, for each sample of a batch.

    Attributes:
        model_input: noisy latents, scaled as the denoiser takes them, (B, C, f, h, w).
        timestep: as the diffusers class of the family takes it, (B,).
        target: what the denoiser should give, (B, C, f, h, w), float32.
    """

    model_input: torch.Tensor
    timestep: torch.Tensor
    target: torch.Tensor


class Objective(ABC):
    """An objective. `data` are normalised latents, `noise` is N(0, 1) of their shape, `times` are the objective's own.

    Where `tokens` is asked for, it is the number of latent positions, f * h * w; only a dynamic shift depends on it.
    """

    #: The settings that it is made from.
    settings_class: ClassVar[type[ObjectiveSettings]]
    #: Whether its scheduler takes what the denoiser gives, as diffusers' pipelines hand it on; else `generate` makes
    #: something else of it first, which no pipeline does.
    scheduler_takes_output: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, settings: Any) -> None:
        """From checked settings."""

    @abstractmethod
    def sample_times(self, count: int, generator: torch.Generator, tokens: int) -> torch.Tensor:
        """Training times, (count,), float32 on the CPU, drawn from a CPU generator."""

    @abstractmethod
    def quantiles(self, shares: torch.Tensor, tokens: int) -> torch.Tensor:
        """The times below which these shares (float64, in (0, 1)) of the training times lie, float32 on the CPU."""

    @abstractmethod
    def noised(self, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> Noised:
        """The denoiser's input and target at `times`, (B,), on any device."""

    @abstractmethod
    def scheduler_config(self) -> dict[str, Any]:
        """`scheduler_config.json` of the diffusers scheduler that samples this objective, `_class_name` included."""

    @abstractmethod
    def generate(self, predict: Predict, noise: torch.Tensor, steps: int, tokens: int) -> torch.Tensor:
        """Latents (B, C, f, h, w) that the scheduler makes of `noise`, N(0, 1), in `steps` calls of `predict`.

        Raises:
            ObjectiveError: `steps` is no number of steps that the scheduler takes.
        """

    def scheduler(self) -> Any:
        """The diffusers scheduler of `scheduler_config`."""
        import diffusers

        config = self.scheduler_config()
        return getattr(diffusers, config["_class_name"]).from_config(config)

    def fixed_times(self, tokens: int) -> torch.Tensor:
        """The five times at which held-out losses are measured, (5,), float32 on the CPU.

        They are the middles of equally likely parts of the training times, so that the mean loss over them estimates
        the training loss.
        """
        import torch

        return self.quantiles(torch.tensor(FIXED_QUANTILES, dtype=torch.float64), tokens)

    def loss(self, predict: Predict, data: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Squared error of the prediction for each sample, (B,): the mean over channels, frames, height and width."""
        model_input, timestep, target = self.noised(data, noise, times)
        return (predict(model_input, timestep).float() - target).square().flatten(1).mean(1)


def per_sample(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`values` (B,) as (B, 1, ..., 1), on the device of `like` (B, ...)."""
    return values.to(like.device).view(-1, *[1] * (like.ndim - 1))
