"""Tiny stand-ins for a pretrained VAE and text encoder, so that the whole chain runs on a laptop without a download.

They have the architecture, the interface and the latent geometry of the real ones. The VAE is trained (its card is
`model/tiny/vae/README.md`); the text encoder is seeded and its states carry no meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.checkpoint import atomic_folder

TINY_TEXT: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}


#: The trained VAE that comes with the code: `AutoencoderKLHunyuanVideo` of 1.3 M parameters, in float16.
TINY_VAE = Path(__file__).parent / "vae"


def save_tiny_vae(folder: str | Path, seed: int = 0) -> Path:
    """Write the tiny VAE. A seed other than 0 gives another one as good: latent channels in another order and sign."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    vae = AutoencoderKLHunyuanVideo.from_pretrained(str(TINY_VAE), torch_dtype=torch.float16, local_files_only=True)
    if seed:
        channels = vae.config.latent_channels
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(channels, generator=generator)
        signs = (torch.randint(0, 2, (channels, 1, 1, 1, 1), generator=generator) * 2 - 1).half()
        with torch.no_grad():
            into, back = vae.quant_conv, vae.post_quant_conv
            into.weight[:channels] = into.weight[order] * signs
            into.bias[:channels] = into.bias[order] * signs.flatten()
            back.weight.copy_(back.weight[:, order] * signs.transpose(0, 1))
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
