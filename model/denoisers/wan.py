"""Wan 2.1 (and 2.2 A14B): `WanTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from model.denoisers.base import Conditions, Dims, Family, beside, config_of, padded

#: States that a text is padded to, as in `WanPipeline`. Its zeros are not masked: their number changes the prediction.
_TEXT_TOKENS = 512
#: Frames in one latent frame, each of which has a mask channel.
_MASK_CHANNELS = 4


class Wan(Family):
    """Texts padded with zeros that are attended to; a first frame in channels of its own, after those of a mask.

    As in Wan 2.2's image-to-video models, which read no embedding of the image. In their pipeline the frames after
    the first are the encoding of a grey video; here they are zeros.
    """

    name = "wan"
    class_name = "WanTransformer3DModel"
    input_layer = "patch_embedding"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], config["text_dim"], None, config.get("image_dim"))

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"] + _MASK_CHANNELS}

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        config = config_of(model)
        texts, _ = padded(conditions.texts, config["text_dim"], model_input, conditions.text_tokens or _TEXT_TOKENS)
        images = None
        if config.get("image_dim") is not None:
            images, _ = padded(conditions.image_states, config["image_dim"], model_input)
        if self.joins_first_frame(config, conditions):
            model_input = torch.cat([model_input, *beside(model_input, conditions, _MASK_CHANNELS)], dim=1)
        return model(
            hidden_states=model_input,
            timestep=timestep,
            encoder_hidden_states=texts,
            encoder_hidden_states_image=images,
            return_dict=False,
        )[0]
