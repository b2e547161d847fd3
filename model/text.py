"""The text encoder backend: captions to unpadded encoder states.

torch and transformers are imported inside the functions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.weights import tokenizer_folder

#: Bump by hand when the same text and weights give other states.
TEXT_CODE_VERSION = "1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextEncoder:
    """A loaded encoder with its tokenizer; `dim` is the size of one state."""

    model: Any
    tokenizer: Any

    @property
    def dim(self) -> int:
        return int(self.model.config.d_model)


def load_text_encoder(folder: str | Path, dtype: str = "float32", device: str = "cpu") -> TextEncoder:
    """Load the T5 encoder in `folder`, with its tokenizer from there or from `tokenizer` beside it.

    Args:
        folder: holds `config.json` and the weights of a T5 encoder (or of a whole T5, whose decoder is left out).
        dtype: `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.
    """
    import torch
    from transformers import AutoTokenizer, T5EncoderModel
    from transformers.utils.logging import disable_progress_bar

    from model.vae import pick_device

    disable_progress_bar()  # standard error is a log, not a terminal
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder(folder)), local_files_only=True)
    model = T5EncoderModel.from_pretrained(str(folder), dtype=getattr(torch, dtype), local_files_only=True)
    return TextEncoder(model.eval().requires_grad_(False).to(pick_device(device)), tokenizer)


def encode_texts(encoder: TextEncoder, texts: Sequence[str], max_tokens: int, batch_size: int = 16) -> list[np.ndarray]:
    """The last hidden states of each text, float32 (tokens, dim), in the order of `texts`.

    Texts of equal token count go through the encoder together, so nothing is ever padded. A text of more than
    `max_tokens` tokens is cut, and a warning says how many were.
    """
    import torch

    tokens = [encoder.tokenizer(text, truncation=False)["input_ids"] for text in texts]
    long = sum(len(ids) > max_tokens for ids in tokens)
    if long:
        _log.warning("%d of %d texts have more than %d tokens and were cut", long, len(texts), max_tokens)
        cut = encoder.tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
        tokens = [list(ids) for ids in cut]
    by_length: dict[int, list[int]] = {}
    for index, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(index)
    states: list[np.ndarray | None] = [None] * len(texts)
    for _, indices in sorted(by_length.items()):
        for start in range(0, len(indices), batch_size):
            chunk = indices[start : start + batch_size]
            ids = torch.tensor([tokens[index] for index in chunk], device=encoder.model.device)
            with torch.inference_mode():
                hidden = encoder.model(input_ids=ids).last_hidden_state.float().cpu().numpy()
            for index, state in zip(chunk, hidden, strict=True):
                states[index] = np.ascontiguousarray(state)
    return [state for state in states if state is not None]
