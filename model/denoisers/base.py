"""What all families of denoisers have in common: their conditioning, and the interface that the trainer calls.

A family knows how its diffusers class is called: the order of dimensions, where the conditioning goes, what is done
with short texts. Nothing here knows an objective, which makes the input and the timestep.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from model.errors import ModelError

States = list[torch.Tensor | None]


@dataclass(frozen=True)
class Conditions:
    """What the samples of one batch are conditioned on.

    Attributes:
        texts: text states (tokens, dim) of each sample, unpadded; None: no caption, which every family reads as one
            state of zeros.
        pooled: pooled text state (1, dim); None: none, which is read as zeros.
        image_states: states (tokens, dim) of an image encoder for the first frame; None: none, read as zeros.
        fps: frames per second; None: not known, for which a family takes what its pipeline in diffusers takes.
        first_frame: (B, C, h, w), in svd the unscaled mean, else normalised as the other latents are; None: not
            given, which models that have channels for it read as zeros.
        guidance: strength for models with embedded guidance (HunyuanVideo); None: 1, which is none.
        text_tokens: length that texts are padded to, `Preset.text_tokens`; None: as the family's pipeline does, or the
            longest of the batch where padding is masked.
    """

    texts: States
    pooled: States
    image_states: States
    fps: list[float | None]
    first_frame: torch.Tensor | None = None
    guidance: float | None = None
    text_tokens: int | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def none(cls, count: int) -> Conditions:
        """No conditions at all, for `count` samples."""
        return cls([None] * count, [None] * count, [None] * count, [None] * count)

    def without_texts(self, mask: Sequence[bool] | torch.Tensor) -> Conditions:
        """The same without the texts, pooled ones as well, of the samples where `mask` is true."""
        drop = [bool(dropped) for dropped in mask]
        return dataclasses.replace(self, texts=without(self.texts, drop), pooled=without(self.pooled, drop))


@dataclass(frozen=True)
class Dims:
    """Sizes that a model was built for; None: it does not read that at all."""

    channels: int
    text: int | None
    pooled: int | None
    image: int | None


class Family(ABC):
    """How the models of one diffusers class are called. Has no state."""

    #: Key in `model.presets.FAMILIES`, and the name of the class in diffusers.
    name: ClassVar[str]
    class_name: ClassVar[str]
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

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """The architecture whose input has channels for a given first frame."""
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
        """`conditions` without what guidance compares with, in the samples where `mask` is true: the texts."""
        return conditions.without_texts(mask)

    def check(
        self,
        model: nn.Module,
        channels: int,
        text_dim: int | None,
        pooled_dim: int | None,
        image_dim: int | None,
        first_frame: bool,
    ) -> None:
        """Refuse data that the model cannot read.

        Args:
            channels: of the latents.
            text_dim, pooled_dim, image_dim: sizes of the states in the training set; None where it has none.
            first_frame: whether the model will be given first frames.

        Raises:
            ModelError: names everything that does not fit.
        """
        config, wrong = config_of(model), []
        dims = self.dims(config)
        if channels != dims.channels:
            wrong.append(f"it takes latents of {dims.channels} channels, these have {channels}")
        for what, found, wanted in (
            ("text states", text_dim, dims.text),
            ("pooled text states", pooled_dim, dims.pooled),
            ("image states", image_dim, dims.image),
        ):
            if found is not None and wanted is not None and found != wanted:
                wrong.append(f"it reads {what} of {wanted}, these have {found}")
        if first_frame and not self.takes_first_frame(config):
            wrong.append("it has no input channels for a first frame; build it with image_conditioning: first_frame")
        if not first_frame and self.needs_first_frame(config):
            wrong.append("it has input channels for a first frame, which image_conditioning: none never gives it")
        if wrong:
            raise ModelError(f"this {self.class_name} does not fit: {'; '.join(wrong)}")


def config_of(model: Any) -> Mapping[str, Any]:
    """The configuration of a diffusers model, also of one that is wrapped."""
    while not hasattr(model, "config"):
        model = model.module
    return model.config


def without(states: States, drop: Sequence[bool]) -> States:
    """`states` with None where `drop` is true."""
    return [None if dropped else state for state, dropped in zip(states, drop, strict=True)]


def padded(
    states: States, dim: int, like: torch.Tensor, length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of states padded with zeros, and where they are not padding.

    Args:
        states: (tokens, dim) each; None is one state of zeros.
        dim: size of a state.
        like: gives device and dtype.
        length: of the result; None: that of the longest row.

    Returns:
        (B, length, dim), and bool (B, length): true for states.

    Raises:
        ModelError: a row is longer than `length`, or its states have another size.
    """
    lengths = [1 if state is None else len(state) for state in states]
    longest = max(lengths)
    length = longest if length is None else length
    if longest > length:
        raise ModelError(f"a text has {longest} states, but the model reads {length}; see text_encoder.max_tokens")
    rows = torch.zeros(len(states), length, dim, device=like.device, dtype=like.dtype)
    for row, state in zip(rows, states, strict=True):
        if state is not None:
            if state.shape[1] != dim:
                raise ModelError(f"states of size {state.shape[1]} for a model that reads states of {dim}")
            row[: len(state)] = state
    counts = torch.tensor(lengths, device=like.device)
    return rows, torch.arange(length, device=like.device) < counts[:, None]


def single(states: States, dim: int, like: torch.Tensor) -> torch.Tensor:
    """(B, dim) of one state each; None is zeros."""
    return padded(states, dim, like, 1)[0][:, 0]


def beside(model_input: torch.Tensor, conditions: Conditions, mask_channels: int = 0) -> tuple[torch.Tensor, ...]:
    """The first frame as further input channels, zeros in the frames after it: (mask, frame).

    Returns:
        mask (B, mask_channels, f, h, w), ones where the frame is given, and frame (B, C, f, h, w).
    """
    mask = torch.zeros_like(model_input[:, :1]).repeat(1, mask_channels, 1, 1, 1)
    frame = torch.zeros_like(model_input)
    if conditions.first_frame is not None:
        mask[:, :, 0] = 1
        frame[:, :, 0] = conditions.first_frame
    return mask, frame
