"""HunyuanVideo: `HunyuanVideoTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.denoisers.base import Dims, Family, Preset, config_of, of_transformer
from model.denoisers.conditions import Conditions, beside, padded, single
from model.objectives.flow_matching import FlowMatchingSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

_PRESETS = (
    Preset(
        "hunyuan-video",
        "hunyuan_video",
        "hunyuan_video",
        "llama",
        None,
        architecture={
            "in_channels": 16,
            "out_channels": 16,
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "num_layers": 20,
            "num_single_layers": 40,
            "num_refiner_layers": 2,
            "guidance_embeds": True,
            "text_embed_dim": 4096,
            "pooled_projection_dim": 768,
        },
        objective=FlowMatchingSettings(shift=7.0),
        pooled=True,
    ),
    Preset(
        "hunyuan-video-tiny",
        "hunyuan_video",
        "hunyuan_video",
        "t5",
        None,
        architecture={
            "in_channels": 16,
            "out_channels": 16,
            "num_attention_heads": 2,
            "attention_head_dim": 32,
            "num_layers": 2,
            "num_single_layers": 2,
            "num_refiner_layers": 1,
            "rope_axes_dim": (8, 12, 12),
            "guidance_embeds": True,
            "text_embed_dim": 64,
            "pooled_projection_dim": 64,
        },
        objective=FlowMatchingSettings(shift=7.0),
    ),
)


class HunyuanVideo(Family):
    """Texts masked; a pooled text state; the strength of guidance as an input.

    A first frame is in channels of its own, before that of a mask, as with the `latent_concat` of its image-to-video
    model.
    """

    name = "hunyuan_video"
    class_name = "HunyuanVideoTransformer3DModel"
    latents = "hunyuan_video"
    presets = _PRESETS
    recomputes = of_transformer(
        "HunyuanVideo*TransformerBlock", attention="Attention", also=("HunyuanVideoIndividualTokenRefinerBlock",)
    )
    pipelines = ("HunyuanVideoPipeline", None)
    components = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    free = (*Family.free, "image_condition_type", "guidance_embeds")
    input_layer = "x_embedder.proj"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        states = {"text": config["text_embed_dim"], "pooled": config["pooled_projection_dim"]}
        return Dims(config["out_channels"], states)

    def embeds_guidance(self, config: Mapping[str, Any]) -> bool:
        return bool(config["guidance_embeds"])

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {
            "in_channels": 2 * architecture["out_channels"] + 1,
            "image_condition_type": "latent_concat",
        }

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        import torch

        config = config_of(model)
        texts, mask = padded(conditions.of("text"), config["text_embed_dim"], model_input)
        guidance = None
        if self.embeds_guidance(config):
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
            pooled_projections=single(conditions.of("pooled"), config["pooled_projection_dim"], model_input),
            guidance=guidance,
            return_dict=False,
        )[0]
