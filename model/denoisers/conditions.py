"""What the samples of a batch are conditioned on, and how a model is given it: padded rows, further input channels.

torch is imported inside the functions, as in the whole package but `models` and `lora`: its presets are configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.data.kinds import KINDS
from model.errors import ModelError

if TYPE_CHECKING:
    import torch

    States = list[torch.Tensor | None]


@dataclass(frozen=True)
class Conditions:
    """What the samples of one batch are conditioned on.

    Attributes:
        states: kind (`model.data.kinds`) -> states (tokens, dim) of each sample, unpadded; None: none, which every
            family reads as one state of zeros. A kind that is left out is None for every sample.
        fps: frames per second; None: not known, for which a family takes what its pipeline in diffusers takes.
        first_frame: (B, C, h, w), in svd the unscaled mean, else normalised as the other latents are; None: not
            given, which models that have channels for it read as zeros.
        guidance: strength for models with embedded guidance (HunyuanVideo); None: 1, which is none.
        text_tokens: length that texts are padded to, `Preset.text_tokens`; None: as the family's pipeline does, or the
            longest of the batch where padding is masked.
    """

    states: Mapping[str, States]
    fps: list[float | None]
    first_frame: torch.Tensor | None = None
    guidance: float | None = None
    text_tokens: int | None = None

    def __len__(self) -> int:
        return len(self.fps)

    @classmethod
    def none(cls, count: int) -> Conditions:
        """No conditions at all, for `count` samples."""
        return cls({}, [None] * count)

    def of(self, kind: str) -> States:
        """The states of a kind, of every sample."""
        return self.states.get(kind) or [None] * len(self)

    def without_captions(self, mask: Sequence[bool] | torch.Tensor) -> Conditions:
        """The same without the states of captions, in the samples where `mask` is true."""
        return self.without(mask, *(kind.name for kind in KINDS.values() if kind.of_caption))

    def without(self, mask: Sequence[bool] | torch.Tensor, *kinds: str) -> Conditions:
        """The same without states of these kinds, in the samples where `mask` is true."""
        left = [bool(dropped) for dropped in mask]
        kept = {
            kind: [None if dropped else state for state, dropped in zip(self.of(kind), left, strict=True)]
            for kind in kinds
        }
        return dataclasses.replace(self, states={**self.states, **kept})


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
    import torch

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
    import torch

    mask = torch.zeros_like(model_input[:, :1]).repeat(1, mask_channels, 1, 1, 1)
    frame = torch.zeros_like(model_input)
    if conditions.first_frame is not None:
        mask[:, :, 0] = 1
        frame[:, :, 0] = conditions.first_frame
    return mask, frame
