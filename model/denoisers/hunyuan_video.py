"""HunyuanVideo: `HunyuanVideoTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from model.denoisers.base import Conditions, Dims, Family, beside, config_of, padded, single


class HunyuanVideo(Family):
    """Texts masked; a pooled text state; the strength of guidance as an input.

    A first frame is in channels of its own, before that of a mask, as with the `latent_concat` of its image-to-video
    model.
    """

    name = "hunyuan_video"
    class_name = "HunyuanVideoTransformer3DModel"
    input_layer = "x_embedder.proj"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], config["text_embed_dim"], config["pooled_projection_dim"], None)

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {
            "in_channels": 2 * architecture["out_channels"] + 1,
            "image_condition_type": "latent_concat",
        }

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        config = config_of(model)
        texts, mask = padded(conditions.texts, config["text_embed_dim"], model_input)
        guidance = None
        if config["guidance_embeds"]:
            strength = 1.0 if conditions.guidance is None else conditions.guidance
            guidance = model_input.new_full((len(model_input),), 1000.0 * strength)
        if self.joins_first_frame(config, conditions):
            given, frame = beside(model_input, conditions, 1)
            model_input = torch.cat([model_input, frame, given], dim=1)
        return model(
            hidden_states=model_input,
            timestep=timestep,
            encoder_hidden_states=texts,
            encoder_attention_mask=mask.to(model_input.dtype),
            pooled_projections=single(conditions.pooled, config["pooled_projection_dim"], model_input),
            guidance=guidance,
            return_dict=False,
        )[0]
