"""Stable Video Diffusion: `UNetSpatioTemporalConditionModel`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from model.denoisers.base import Dims, Family, Preset, config_of
from model.denoisers.conditions import Conditions, padded
from model.objectives.edm import EDMSettings
from model.vaes.space import mean_and_logvar

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Of a latent.
_CHANNELS = 4
_OBJECTIVE = EDMSettings(p_mean=0.7, p_std=1.6)
_PRESETS = (
    Preset(
        "svd",
        "svd",
        "svd",
        None,
        None,
        architecture={
            "sample_size": 96,
            "in_channels": 2 * _CHANNELS,
            "out_channels": _CHANNELS,
            "block_out_channels": (320, 640, 1280, 1280),
            "num_attention_heads": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 768,
            "num_frames": 25,
        },
        objective=_OBJECTIVE,
        image_states=True,
        image_conditioning="first_frame",
    ),
    Preset(
        "svd-tiny",
        "svd",
        "svd",
        None,
        None,
        architecture={
            "sample_size": 8,
            "in_channels": 2 * _CHANNELS,
            "out_channels": _CHANNELS,
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            "block_out_channels": (32, 64),
            "num_attention_heads": (2, 4),
            "layers_per_block": 1,
            "cross_attention_dim": 64,
            "addition_time_embed_dim": 32,
            "projection_class_embeddings_input_dim": 96,
            "num_frames": 4,
        },
        objective=_OBJECTIVE,
        image_conditioning="first_frame",
    ),
)
_LAYERS = ("SpatioTemporalResBlock", "BasicTransformerBlock", "TemporalBasicTransformerBlock")
_SAMPLERS = ("Upsample2D", "Downsample2D")
#: Frame rate where it is not known, and the motion score of every sample, as in `StableVideoDiffusionPipeline`.
_FPS, _MOTION_BUCKET = 7.0, 127.0


class Svd(Family):
    """Frames before channels; the first frame in channels of its own in every frame; no text, but its embedding.

    `added_time_ids` are frames per second less one, the motion score, and the noise that was added to the first
    frame, which is none here.
    """

    name = "svd"
    class_name = "UNetSpatioTemporalConditionModel"
    latents = "svd"
    presets = _PRESETS
    recomputes = {
        # The library's switch leaves out every temporal block
        "diffusers": ("SpatioTemporalResBlock", "!mid_block.resnets.0", "BasicTransformerBlock"),
        "temporal": _LAYERS,
        "attention": (*_LAYERS, "TransformerSpatioTemporalModel", *_SAMPLERS),
        "block": (
            *_LAYERS,
            "FeedForward",  # the widest part, and cheap to do once more
            "TransformerSpatioTemporalModel",
            *_SAMPLERS,
            "*DownBlock*",
            "UNetMidBlock*",
            "*UpBlock*",
            "conv_in",
            "conv_out",
        ),
    }
    pipelines = (None, "StableVideoDiffusionPipeline")
    components = ("vae", "image_encoder", "feature_extractor")
    part = "unet"
    free = (*Family.free, "sample_size", "num_frames")

    def dims(self, config: Mapping[str, Any]) -> Dims:
        return Dims(config["out_channels"], {"image": config["cross_attention_dim"]})

    def first_frame(self, latents: torch.Tensor, data: torch.Tensor | None) -> torch.Tensor:
        """The mean of the stored latent, not scaled, as its pipeline takes it without noise augmentation."""
        return mean_and_logvar(latents, _CHANNELS)[0][:, :, 0]

    def with_first_frame(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        return dict(architecture) | {"in_channels": 2 * architecture["out_channels"]}

    def drop(self, conditions: Conditions, mask: Sequence[bool] | torch.Tensor) -> Conditions:
        """Without the first frame and its embedding, both zeros, in the samples where `mask` is true."""
        import torch

        drop = [bool(dropped) for dropped in mask]
        first = conditions.first_frame
        if first is not None:
            first = first * (~torch.tensor(drop, device=first.device)).to(first.dtype).view(-1, 1, 1, 1)
        return dataclasses.replace(conditions.without_captions(drop).without(drop, "image"), first_frame=first)

    def predict(
        self, model: nn.Module, model_input: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        import torch

        config = config_of(model)
        images, _ = padded(conditions.of("image"), config["cross_attention_dim"], model_input)
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
