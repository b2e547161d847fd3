"""What a family of denoisers says of itself, and the interface that the trainer calls.

A family is a class of diffusers, told whole in a file of its own: how it is called (the order of dimensions, where the
conditioning goes, what is done with short texts), its presets, what may be recomputed in it, and its pipelines. How
inputs and timesteps are made is the objective's. No torch before a method is called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from model.data.kinds import KINDS
from model.denoisers.conditions import Conditions
from model.errors import ModelError
from model.objectives.base import Objective, ObjectiveSettings

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Preset:
    """One denoiser.

    Attributes:
        name: in the configuration.
        family: a key of `model.denoisers.FAMILIES`.
        latent_family: the latent space that it was designed for, a key of `model.vaes.FAMILIES`.
        text_family: the kind of text states that it reads (`text_encoder.family`); None: it reads no text.
        text_tokens: states that it reads of one text at most; every text is padded to so many. None: as many as
            there are, padding being masked.
        architecture: arguments of the diffusers class.
        objective: what it was trained with.
        pooled: whether it needs a pooled text state, from a second encoder. One that does not need it, but has a
            place for it, takes it where it is there.
        image_states: whether it needs the embedding of the first frame; else as with `pooled`.
        image_conditioning: `first_frame` for those that cannot do without it; else the default, `none`.
    """

    name: str
    family: str
    latent_family: str
    text_family: str | None
    text_tokens: int | None
    architecture: Mapping[str, Any]
    objective: ObjectiveSettings
    pooled: bool = False
    image_states: bool = False
    image_conditioning: str = "none"


@dataclass(frozen=True)
class Dims:
    """Sizes that a model was built for: channels of a latent, and of one state of each kind that it reads."""

    channels: int
    states: Mapping[str, int | None]


class Family(ABC):
    """The models of one diffusers class. Has no state."""

    #: Key in `model.denoisers.FAMILIES`, and the name of the class in diffusers.
    name: ClassVar[str]
    class_name: ClassVar[str]
    #: The family of VAEs whose latents its pipelines decode, a key of `model.vaes.FAMILIES`.
    latents: ClassVar[str]
    presets: ClassVar[tuple[Preset, ...]]
    #: Policy of activation checkpointing -> what it recomputes: class names of the model's modules, or paths, as
    #: patterns; `!` takes away again. `diffusers`, the library's own switch, is here to be told before a run.
    recomputes: ClassVar[Mapping[str, tuple[str, ...]]]
    #: The diffusers pipeline of its models, and of those that are given a first frame. None: there is none, or it
    #: conditions on something else than was trained on.
    pipelines: ClassVar[tuple[str | None, str | None]]
    #: The parts of its pipelines, beside the denoiser and its scheduler, and their name of the denoiser.
    components: ClassVar[tuple[str, ...]] = ("vae", "text_encoder", "tokenizer")
    part: ClassVar[str] = "transformer"
    #: Whether its pipelines tell the scheduler how many latent positions there are.
    tells_positions: ClassVar[bool] = False
    #: Keys of a configuration that say nothing of the weights, in which pretrained ones may differ from a preset; and
    #: the input channels, of which `check` tells more.
    free: ClassVar[tuple[str, ...]] = ("in_channels",)
    #: Name of its convolution over patches, whose first input channels are the noisy latents; of those that `widen`s.
    input_layer: ClassVar[str] = ""

    @abstractmethod
    def dims(self, config: Mapping[str, Any]) -> Dims:
        """The sizes in the configuration of a model."""

    @abstractmethod
    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """What the model gives for a batch of images (f = 1) or videos.

        Args:
            model: of the family's class; it may be wrapped, as by DistributedDataParallel.
            model_input: (B, C, f, h, w), scaled as the objective wants it.
            timestep: (B,), what the class expects: 1000 t for flow matching, an index for DDPM, ln(sigma)/4 for EDM.
            conditions: of as many samples.

        Returns:
            (B, C, f, h, w).

        Raises:
            ModelError: a first frame that the model has no channels for, or a text that is too long.
        """

    def first_frame(self, latents: torch.Tensor, data: torch.Tensor | None) -> torch.Tensor:
        """The first frame (B, C, h, w) that a model is given.

        Args:
            latents: as stored, moments or mean.
            data: the normalised latents (B, C, f, h, w) of the same samples.

        Raises:
            ValueError: it is taken from `data`, which was not given.
        """
        if data is None:
            raise ValueError("first frames are taken from `data`, the normalised latents, which was not given")
        return data[:, :, 0]

    def scheduler(self, objective: Objective) -> Any:
        """The scheduler that the family's pipeline samples an objective with."""
        return objective.scheduler()

    def embeds_guidance(self, config: Mapping[str, Any]) -> bool:
        """Whether a model of this configuration is given the strength of guidance as an input."""
        return False

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """The architecture, all its arguments said, whose input has channels for a given first frame."""
        return dict(architecture)

    def takes_first_frame(self, config: Mapping[str, Any]) -> bool:
        """Whether a model of this configuration can be given its first frame."""
        return self.with_first_frame(config)["in_channels"] == config["in_channels"]

    def needs_first_frame(self, config: Mapping[str, Any]) -> bool:
        """Whether a model of this configuration has input channels for a first frame, which are zeros without one."""
        return config["in_channels"] != self.dims(config).channels

    def joins_first_frame(self, config: Mapping[str, Any], conditions: Conditions) -> bool:
        """Whether a model's input is joined by channels for a first frame; a frame that has no place is an error."""
        if conditions.first_frame is not None and not self.takes_first_frame(config):
            raise ModelError(f"this {self.class_name} has no input channels for the first frame that it is given")
        return self.needs_first_frame(config)

    def widen(self, model: Any) -> None:
        """Give `model` input channels for a first frame, in place, with weights of zero; one that has them stays."""
        import torch

        config = config_of(model)
        if self.takes_first_frame(config):
            return
        wide = self.with_first_frame(config)
        old = model.get_submodule(self.input_layer)
        new = type(old)(
            wide["in_channels"],
            old.out_channels,
            kernel_size=old.kernel_size,
            stride=old.stride,
            padding=old.padding,
            bias=old.bias is not None,
        )
        with torch.no_grad():
            new.weight.zero_()[:, : old.in_channels] = old.weight
            if old.bias is not None:
                new.bias.copy_(old.bias)
        model.set_submodule(self.input_layer, new)
        model.register_to_config(**{key: value for key, value in wide.items() if value != config.get(key)})

    def drop(self, conditions: Conditions, mask: Sequence[bool] | torch.Tensor) -> Conditions:
        """`conditions` without what guidance compares with, in the samples where `mask` is true: the captions."""
        return conditions.without_captions(mask)

    def check(self, model: nn.Module, channels: int, states: Mapping[str, int | None], first_frame: bool) -> None:
        """Refuse data that the model cannot read.

        Args:
            channels: of the latents.
            states: kind -> size of its states in the training set; None where it has none.
            first_frame: whether the model will be given first frames.

        Raises:
            ModelError: names everything that does not fit.
        """
        config, wrong = config_of(model), []
        dims = self.dims(config)
        if channels != dims.channels:
            wrong.append(f"it takes latents of {dims.channels} channels, these have {channels}")
        for kind, found in states.items():
            wanted = dims.states.get(kind)
            if found is not None and wanted is not None and found != wanted:
                wrong.append(f"it reads {KINDS[kind].words} of {wanted}, these have {found}")
        if first_frame and not self.takes_first_frame(config):
            wrong.append("it has no input channels for a first frame; build it with image_conditioning: first_frame")
        if not first_frame and self.needs_first_frame(config):
            wrong.append("it has input channels for a first frame, which image_conditioning: none never gives it")
        if wrong:
            raise ModelError(f"this {self.class_name} does not fit: {'; '.join(wrong)}")


def of_transformer(*blocks: str, attention: str, also: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """`recomputes` of a transformer whose blocks attend over space and time at once: it has nothing temporal."""
    return {
        "diffusers": blocks,
        "attention": (attention,),
        # The feed-forward is wider than all else in a block: alone in its region, it is not held beside the attention
        "block": (*blocks, attention, "FeedForward", *also),
    }


def config_of(model: Any) -> Mapping[str, Any]:
    """The configuration of a diffusers model, also of one that is wrapped."""
    while not hasattr(model, "config"):
        model = model.module
    return model.config
