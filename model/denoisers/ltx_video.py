"""LTX-Video: `LTXVideoTransformer3DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.denoisers.base import Dims, Family, Preset, config_of, of_transformer
from model.denoisers.conditions import Conditions, padded
from model.objectives.flow_matching import FlowMatchingSettings
from model.vaes import latent_space

if TYPE_CHECKING:
    import torch
    from torch import nn

_OBJECTIVE = FlowMatchingSettings(shift="dynamic")
_PRESETS = (
    Preset(
        "ltx-video",
        "ltx_video",
        "ltx_video",
        "t5",
        128,
        architecture={
            "in_channels": 128,
            "out_channels": 128,
            "num_attention_heads": 32,
            "attention_head_dim": 64,
            "cross_attention_dim": 2048,
            "num_layers": 28,
            "caption_channels": 4096,
        },
        objective=_OBJECTIVE,
    ),
    Preset(
        "ltx-video-tiny",
        "ltx_video",
        "ltx_video",
        "t5",
        64,
        architecture={
            "in_channels": 128,
            "out_channels": 128,
            "num_attention_heads": 4,
            "attention_head_dim": 32,
            "cross_attention_dim": 128,
            "num_layers": 3,
            "caption_channels": 64,
        },
        objective=_OBJECTIVE,
    ),
)
#: Frame rate where it is not known, as in `LTXPipeline`.
_FPS = 25.0


class LtxVideo(Family):
    """A row of tokens in place of frames; texts masked; positions in seconds and pixels.

    A given first frame takes the place of the noisy one, with a timestep of 0, in any model. There the velocity that
    ends in it is known, so that it is what `predict` returns.
    """

    name = "ltx_video"
    class_name = "LTXVideoTransformer3DModel"
    latents = "ltx_video"
    presets = _PRESETS
    recomputes = of_transformer("LTXVideoTransformerBlock", attention="LTXAttention")
    pipelines = ("LTXPipeline", "LTXImageToVideoPipeline")
    tells_positions = True

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["in_channels"], {"text": config["caption_channels"]})

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        import torch

        config = config_of(model)
        count, _, frames, height, width = model_input.shape
        texts, mask = padded(conditions.of("text"), config["caption_channels"], model_input, conditions.text_tokens)
        first, noisy = conditions.first_frame, model_input
        if first is not None:
            first = first.to(model_input)[:, :, None]
            model_input = torch.cat([first, model_input[:, :, 1:]], dim=2)
        times = timestep[:, None].expand(count, 1)
        if first is not None:
            times = timestep[:, None].repeat(1, frames * height * width)
            times[:, : height * width] = 0
        space = latent_space(self.latents)
        rates = [_FPS if fps is None else fps for fps in conditions.fps]
        seconds = torch.tensor([space.temporal / rate for rate in rates], device=model_input.device)
        output = model(
            hidden_states=model_input.flatten(2).transpose(1, 2),
            encoder_hidden_states=texts,
            timestep=times,
            encoder_attention_mask=mask.to(model_input.dtype),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(seconds.view(-1, 1, 1, 1, 1), space.spatial, space.spatial),
            return_dict=False,
        )[0]
        output = output.transpose(1, 2).unflatten(2, (frames, height, width))
        if first is not None:
            # x_t = (1 - t) x + t n and the velocity is n - x: with x given, (x_t - x) / t
            velocity = (noisy[:, :, :1] - first) / (timestep.view(-1, 1, 1, 1, 1) / 1000)
            output = torch.cat([velocity, output[:, :, 1:].to(velocity.dtype)], dim=2)
        return output
