"""Denoisers with the parts of the full-size ones, of about a million parameters, which a CPU trains."""

from __future__ import annotations

from typing import Any

from model.presets.base import EDM, Preset, ddpm, flow

# Text states of 64, as of the tiny text encoder that comes with the code (`model.tiny`).
_TINY_WAN: dict[str, Any] = {
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
_TINY_TOKENS = 64

TINY = (
    Preset(
        "tiny-dit",  # in the latent space of the tiny VAE that comes with the code
        "wan",
        "hunyuan_video",
        "t5",
        _TINY_TOKENS,
        architecture=_TINY_WAN | {"num_layers": 4},
        objective=flow(3.0),
    ),
    Preset(
        "svd-tiny",
        "svd",
        "svd",
        None,
        None,
        architecture={
            "sample_size": 8,
            "in_channels": 8,
            "out_channels": 4,
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
        objective=EDM,
        image_conditioning="first_frame",
    ),
    Preset(
        "cogvideox-tiny",
        "cogvideox",
        "cogvideox",
        "t5",
        _TINY_TOKENS,
        architecture={
            "in_channels": 16,
            "out_channels": 16,
            "num_attention_heads": 4,
            "attention_head_dim": 32,
            "time_embed_dim": 128,
            "text_embed_dim": 64,
            "num_layers": 2,
            "max_text_seq_length": _TINY_TOKENS,
            "sample_width": 16,
            "sample_height": 16,
            "sample_frames": 9,
            "use_rotary_positional_embeddings": True,
        },
        objective=ddpm(1.0),
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
        objective=flow(7.0),
    ),
    Preset(
        "wan-tiny",
        "wan",
        "wan",
        "t5",
        _TINY_TOKENS,
        architecture=_TINY_WAN | {"num_layers": 3},
        objective=flow(3.0),
    ),
    Preset(
        "ltx-video-tiny",
        "ltx_video",
        "ltx_video",
        "t5",
        _TINY_TOKENS,
        architecture={
            "in_channels": 128,
            "out_channels": 128,
            "num_attention_heads": 4,
            "attention_head_dim": 32,
            "cross_attention_dim": 128,
            "num_layers": 3,
            "caption_channels": 64,
        },
        objective=flow("dynamic"),
    ),
)
