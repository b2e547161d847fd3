"""Tiny stand-ins for a pretrained VAE and text encoder: seeded, made in seconds, never trained.

They have the architecture, the interface and the latent geometry of the real ones, so that the whole chain runs on a
laptop without a download. The VAE is a designed linear transform; the text states carry no meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.checkpoint import atomic_folder

TINY_TEXT: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}


def save_tiny_vae(folder: str | Path, seed: int = 0) -> Path:
    """Write an `AutoencoderKLHunyuanVideo` of 1.3 M parameters; equal bytes for an equal seed.

    Its weights are designed, see `model.tiny_vae`: latents have about unit variance and decode to a blurred clip.
    """
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    from model.tiny_vae import CONFIG, design

    with _seeded(seed):
        vae = AutoencoderKLHunyuanVideo(**CONFIG)
    design(vae, seed)
    return _save(folder, vae)


def save_tiny_text_encoder(folder: str | Path, seed: int = 0) -> Path:
    """Write a seeded `T5EncoderModel` (64 dimensions) with a `ByT5Tokenizer`, which needs no vocabulary file."""
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # standard error is a log, not a terminal
    tokenizer = ByT5Tokenizer()
    with _seeded(seed):
        encoder = T5EncoderModel(
            T5Config(
                vocab_size=len(tokenizer),
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                **TINY_TEXT,
            )
        )
    return _save(folder, encoder, tokenizer)


def _save(folder: str | Path, *parts: Any) -> Path:
    with atomic_folder(folder, replace=True) as temporary:
        for part in parts:
            part.save_pretrained(str(temporary))
    return Path(folder)


def _seeded(seed: int) -> Any:
    """A context in which torch's CPU generator is seeded, and after which it is as it was."""
    import torch

    context = torch.random.fork_rng(devices=[])

    class Seeded:
        def __enter__(self) -> None:
            context.__enter__()
            torch.manual_seed(seed)

        def __exit__(self, *error: Any) -> None:
            context.__exit__(*error)

    return Seeded()
