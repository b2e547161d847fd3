"""CogVideoX 1.0, 2B and 5B: `CogVideoXTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.denoisers.base import Dims, Family, Preset, config_of, of_transformer
from model.denoisers.conditions import Conditions, beside, padded
from model.objectives.ddpm import DDPMSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

_FULL: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "max_text_seq_length": 226,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
}
_PRESETS = (
    Preset(
        "cogvideox-2b",
        "cogvideox",
        "cogvideox",
        "t5",
        226,
        architecture=_FULL | {"num_attention_heads": 30, "num_layers": 30},
        objective=DDPMSettings(snr_shift_scale=3.0),
    ),
    Preset(
        "cogvideox-5b",
        "cogvideox",
        "cogvideox",
        "t5",
        226,
        architecture=_FULL | {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
        objective=DDPMSettings(snr_shift_scale=1.0),
    ),
    Preset(
        "cogvideox-tiny",
        "cogvideox",
        "cogvideox",
        "t5",
        64,
        architecture={
            "in_channels": 16,
            "out_channels": 16,
            "num_attention_heads": 4,
            "attention_head_dim": 32,
            "time_embed_dim": 128,
            "text_embed_dim": 64,
            "num_layers": 2,
            "max_text_seq_length": 64,
            "sample_width": 16,
            "sample_height": 16,
            "sample_frames": 9,
            "use_rotary_positional_embeddings": True,
        },
        objective=DDPMSettings(snr_shift_scale=1.0),
    ),
)


class CogVideoX(Family):
    """Frames before channels; texts padded to one length, whose padding is attended to; rotary positions from outside.

    A first frame is in channels of its own. In its pipeline the padding of a text is what T5 makes of padding tokens;
    here, where states are stored unpadded, it is zeros.
    """

    name = "cogvideox"
    class_name = "CogVideoXTransformer3DModel"
    latents = "cogvideox"
    presets = _PRESETS
    recomputes = of_transformer("CogVideoXBlock", attention="Attention")
    pipelines = ("CogVideoXPipeline", None)
    input_layer = "patch_embed.proj"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], {"text": config["text_embed_dim"]})

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"]}

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        import torch

        config = config_of(model)
        length = conditions.text_tokens or config["max_text_seq_length"]
        texts, _ = padded(conditions.of("text"), config["text_embed_dim"], model_input, length)
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
