"""Stable Video Diffusion: `UNetSpatioTemporalConditionModel`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from model.denoisers.base import Conditions, Dims, Family, config_of, padded, without

#: Frame rate where it is not known, and the motion score of every sample, as in `StableVideoDiffusionPipeline`.
_FPS, _MOTION_BUCKET = 7.0, 127.0


class Svd(Family):
    """Frames before channels; the first frame in channels of its own in every frame; no text, but its embedding.

    `added_time_ids` are frames per second less one, the motion score, and the noise that was added to the first
    frame, which is none here.
    """

    name = "svd"
    class_name = "UNetSpatioTemporalConditionModel"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], None, None, config["cross_attention_dim"])

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"]}

    def drop(self, conditions: Conditions, mask: Sequence[bool] | torch.Tensor) -> Conditions:
        """Without the first frame and its embedding, both zeros, in the samples where `mask` is true."""
        drop = [bool(dropped) for dropped in mask]
        first = conditions.first_frame
        if first is not None:
            first = first * (~torch.tensor(drop, device=first.device)).to(first.dtype).view(-1, 1, 1, 1)
        return dataclasses.replace(
            conditions.without_texts(drop), image_states=without(conditions.image_states, drop), first_frame=first
        )

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        config = config_of(model)
        images, _ = padded(conditions.image_states, config["cross_attention_dim"], model_input)
        frame = torch.zeros_like(model_input)
        if conditions.first_frame is not None:
            frame = frame + conditions.first_frame.to(model_input)[:, :, None]
        ids = [[(_FPS if fps is None else fps) - 1, _MOTION_BUCKET, 0.0] for fps in conditions.fps]
        output = model(
            torch.cat([model_input, frame], dim=1).transpose(1, 2),
            timestep,
            encoder_hidden_states=images,
            added_time_ids=torch.tensor(ids, device=model_input.device),
            return_dict=False,
        )[0]
        return output.transpose(1, 2)
