"""Wan 2.1 (and 2.2 A14B): `WanTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.denoisers.base import Dims, Family, Preset, config_of, of_transformer
from model.denoisers.conditions import Conditions, beside, padded
from model.objectives.base import Objective
from model.objectives.flow_matching import FlowMatching, FlowMatchingSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

_FULL: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}
_TINY: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 64,
    "freq_dim": 128,
    "ffn_dim": 512,
    "rope_max_seq_len": 256,
}
_OBJECTIVE = FlowMatchingSettings(shift=3.0)
_PRESETS = (
    Preset(
        "wan-1.3b",
        "wan",
        "wan",
        "umt5",
        512,
        architecture=_FULL | {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        objective=_OBJECTIVE,
    ),
    Preset(
        "wan-14b",
        "wan",
        "wan",
        "umt5",
        512,
        architecture=_FULL | {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
        objective=_OBJECTIVE,
    ),
    Preset("wan-tiny", "wan", "wan", "t5", 64, architecture=_TINY | {"num_layers": 3}, objective=_OBJECTIVE),
    # In the latent space of the tiny VAE that comes with the code, with text states as of its tiny text encoder
    Preset("tiny-dit", "wan", "hunyuan_video", "t5", 64, architecture=_TINY | {"num_layers": 4}, objective=_OBJECTIVE),
)
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
    latents = "wan"
    presets = _PRESETS
    recomputes = of_transformer("WanTransformerBlock", attention="WanAttention")
    # Its pipeline with a first frame fills up with the encoding of a grey video
    pipelines = ("WanPipeline", None)
    input_layer = "patch_embedding"

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], {"text": config["text_dim"], "image": config.get("image_dim")})

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"] + _MASK_CHANNELS}

    def scheduler(self, objective: Objective) -> Any:
        """UniPC, with which it is published: its pipeline leaves the times to it, and would shift Euler's own twice."""
        if not isinstance(objective, FlowMatching) or objective.settings.shift == "dynamic":
            return super().scheduler(objective)
        from diffusers import UniPCMultistepScheduler

        return UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=objective.settings.shift
        )

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        import torch

        config = config_of(model)
        length = conditions.text_tokens or _TEXT_TOKENS
        texts, _ = padded(conditions.of("text"), config["text_dim"], model_input, length)
        images = None
        if config.get("image_dim") is not None:
            images, _ = padded(conditions.of("image"), config["image_dim"], model_input)
        if self.joins_first_frame(config, conditions):
            model_input = torch.cat([model_input, *beside(model_input, conditions, _MASK_CHANNELS)], dim=1)
        return model(
            hidden_states=model_input,
            timestep=timestep,
            encoder_hidden_states=texts,
            encoder_hidden_states_image=images,
            return_dict=False,
        )[0]
