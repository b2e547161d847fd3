"""CogVideoX 1.0, 2B and 5B: `CogVideoXTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from model.denoisers.base import Conditions, Dims, Family, beside, config_of, padded


class CogVideoX(Family):
    """Frames before channels; texts padded to one length, whose padding is attended to; rotary positions from outside.

    A first frame is in channels of its own. In its pipeline the padding of a text is what T5 makes of padding tokens;
    here, where states are stored unpadded, it is zeros.
    """

    name = "cogvideox"
    class_name = "CogVideoXTransformer3DModel"
    input_layer = "patch_embed.proj"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], config["text_embed_dim"], None, None)

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"]}

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        config = config_of(model)
        length = conditions.text_tokens or config["max_text_seq_length"]
        texts, _ = padded(conditions.texts, config["text_embed_dim"], model_input, length)
        rotary = None
        if config["use_rotary_positional_embeddings"]:
            rotary = _rotary(
                config["attention_head_dim"],
                config["patch_size"],
                (config["sample_height"], config["sample_width"]),
                model_input.shape[2:],
                model_input.device,
            )
        if self.joins_first_frame(config, conditions):
            model_input = torch.cat([model_input, *beside(model_input, conditions)], dim=1)
        output = model(
            hidden_states=model_input.transpose(1, 2),
            encoder_hidden_states=texts,
            timestep=timestep,
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        return output.transpose(1, 2)


def _rotary(
    head_dim: int, patch: int, sample: tuple[int, int], shape: torch.Size, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of the rotary positions of latents of `shape` (f, h, w), as `CogVideoXPipeline` makes them."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    frames, height, width = shape
    grid = (height // patch, width // patch)
    crop = get_resize_crop_region_for_grid(grid, sample[1] // patch, sample[0] // patch)
    cos, sin = get_3d_rotary_pos_embed(head_dim, crop, grid, frames, device=device)
    return cos, sin
