"""The text encoder backends: captions to unpadded encoder states, or to one pooled state.

torch and transformers are imported inside the functions. A caption goes through the encoder without padding, so its
states are those that a padded batch with its attention mask gives for its own tokens. (CogVideoX and LTX-Video run
their T5 without a mask: there padding itself is attended to, and states of padding differ in kind.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ModelError, first_line
from model.weights import WeightsError, tokenizer_folder

if TYPE_CHECKING:
    import torch

#: Bump by hand when the same text and weights give other states.
TEXT_CODE_VERSION = "2"

#: Family -> the class of transformers that encodes with it, and the `model_type`s of a folder that has its weights.
FAMILIES = {
    "t5": ("T5EncoderModel", ("t5",)),
    "umt5": ("UMT5EncoderModel", ("umt5",)),
    "clip": ("CLIPTextModel", ("clip", "clip_text_model")),
    "llama": ("LlamaModel", ("llama",)),
}
#: Name of a template -> the family whose tokens it counts, and the SHA-256 of the template of that name in diffusers'
#: pipeline: a name in a key stands for one text for good.
NAMED_TEMPLATES = {"hunyuan_video": ("llama", "8a07bd58a30470b5d912213ff40b5f03580b283e01c9770b2ff4ef339d58c329")}


class TextError(ModelError):
    """A text has no states; the message says why."""


@dataclass(frozen=True)
class Template:
    """What a caption is put into: `head`, caption, `tail`. The states of the first `crop` tokens are left out.

    `head_ids` are the tokens that a text must begin with; None where `crop` is declared, not counted.
    """

    head: str
    tail: str
    crop: int
    head_ids: tuple[int, ...] | None


@dataclass(frozen=True)
class TextEncoder:
    """A loaded encoder with its tokenizer and the settings that change its states."""

    model: Any
    tokenizer: Any
    template: Template
    max_tokens: int
    skip_layers: int
    pooled: bool

    @property
    def dim(self) -> int:
        """Size of one state."""
        config = self.model.config
        return int(getattr(config, "d_model", None) or config.hidden_size)


@dataclass(frozen=True)
class EncodedText:
    """States (tokens, dim) of one text on the CPU, in the encoder's dtype; `cut_tokens` did not fit and were cut."""

    states: torch.Tensor
    cut_tokens: int


def load_text_encoder(
    folder: str | Path,
    family: str = "t5",
    dtype: str = "float32",
    device: str = "cpu",
    *,
    max_tokens: int = 256,
    template: str | None = None,
    skip_layers: int = 0,
    pooled: bool = False,
) -> TextEncoder:
    """Load the encoder in `folder`, with its tokenizer from there or from beside it.

    Args:
        folder: holds `config.json` and the weights of an encoder, or of a whole model that has it as a part.
        family: one of `FAMILIES`.
        dtype: `float32`, `bfloat16` or `float16`; the states have it too.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.
        max_tokens: tokens of a text that are kept, end token included, those of the template's head not.
        template: text with `{}` for the caption, or a name of `NAMED_TEMPLATES`.
        skip_layers: layers at the end whose output is not used. With 0, the last state is normalised as the model
            does it; states before it are not, as in HunyuanVideo (2).
        pooled: take the pooled state (1, dim) instead of one for each token; `clip` alone has it.

    Raises:
        WeightsError: the folder holds another family, lacks weights, or cannot do what the settings say.
    """
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    from model.compute.numerics import pick_device

    disable_progress_bar()  # standard error is a log, not a terminal
    name, types = FAMILIES[family]
    check_type(folder, types, family)
    place = tokenizer_folder(folder)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except (ImportError, OSError, ValueError) as error:
        raise WeightsError(f"{place}: the tokenizer cannot be loaded: {first_line(error)}") from error
    model = load_whole(getattr(transformers, name), folder, getattr(torch, dtype))
    filled = _template(template, tokenizer)
    encoder = TextEncoder(model.to(pick_device(device)), tokenizer, filled, max_tokens, skip_layers, pooled)
    _check_settings(encoder, folder, family)
    return encoder


def encode_texts(encoder: TextEncoder, texts: Sequence[str], batch_size: int = 16) -> list[EncodedText]:
    """States of each text, in the order of `texts`.

    Texts of equal token count go through the encoder together, so nothing is ever padded. Values may be non-finite
    where a half-precision encoder overflowed: check before storing.

    Raises:
        TextError: a text has no token, or the template's head does not end where a token ends.
    """
    import torch

    tokens = [_tokens(encoder, text) for text in texts]
    first = 0 if encoder.pooled else encoder.template.crop
    by_length: dict[int, list[int]] = {}
    for index, (ids, _) in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(index)
    states: dict[int, torch.Tensor] = {}
    for _, indices in sorted(by_length.items()):
        for start in range(0, len(indices), batch_size):
            chunk = indices[start : start + batch_size]
            batch = torch.tensor([tokens[index][0] for index in chunk], device=encoder.model.device)
            for index, state in zip(chunk, _run(encoder, batch), strict=True):
                states[index] = state[first:].clone()
    return [EncodedText(states[index], cut) for index, (_, cut) in enumerate(tokens)]


def _run(encoder: TextEncoder, ids: torch.Tensor) -> torch.Tensor:
    """States (B, tokens, dim) of token ids (B, tokens), on the CPU."""
    import torch

    with torch.inference_mode():
        output = encoder.model(input_ids=ids, output_hidden_states=encoder.skip_layers > 0)
        if encoder.pooled:
            hidden = output.pooler_output[:, None]
        elif encoder.skip_layers:
            hidden = output.hidden_states[-(encoder.skip_layers + 1)]
        else:
            hidden = output.last_hidden_state
    return hidden.to("cpu", encoder.model.dtype)


def _tokens(encoder: TextEncoder, text: str) -> tuple[list[int], int]:
    """Token ids of a text in its template, and how many were cut at the end. A tokenizer that ends texts does so."""
    template, tokenize = encoder.template, encoder.tokenizer
    filled, limit = template.head + text + template.tail, template.crop + encoder.max_tokens
    whole = ids = tokenize(filled, truncation=False)["input_ids"]
    if len(whole) > limit:
        ids = tokenize(filled, truncation=True, max_length=limit)["input_ids"]
    if template.head_ids is not None and tuple(ids[: template.crop]) != template.head_ids:
        raise TextError("the template's text before {} and the caption share a token; end it with a line break")
    if len(ids) <= template.crop:
        raise TextError("the text has no token")
    return list(ids), len(whole) - len(ids)


def _template(text: str | None, tokenize: Any) -> Template:
    if text is None:
        return Template("", "", 0, None)
    if text in NAMED_TEMPLATES:
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

        facts: dict[str, Any] = DEFAULT_PROMPT_TEMPLATE
        named, crop = str(facts["template"]), int(facts["crop_start"])
        if hashlib.sha256(f"{crop} {named}".encode()).hexdigest() != NAMED_TEMPLATES[text][1]:
            raise WeightsError(f"this version of diffusers has another template {text}; write its text out instead")
        head, _, tail = named.partition("{}")
        return Template(head, tail, crop, None)
    head, _, tail = text.partition("{}")
    ids = tuple(tokenize(head)["input_ids"]) if head else ()
    if ids and ids[-1] == tokenize.eos_token_id:
        ids = ids[:-1]
    return Template(head, tail, len(ids), ids)


def _check_settings(encoder: TextEncoder, folder: str | Path, family: str) -> None:
    config = encoder.model.config
    layers = config.num_layers if hasattr(config, "num_layers") else config.num_hidden_layers
    if encoder.skip_layers >= layers:
        raise WeightsError(f"{folder}: skip_layers is {encoder.skip_layers}, but this encoder has {layers} layers")
    positions = getattr(config, "max_position_embeddings", None)
    if positions and encoder.max_tokens + encoder.template.crop > positions:
        raise WeightsError(f"{folder}: max_tokens is {encoder.max_tokens}, but this encoder has {positions} positions")
    if encoder.pooled and family != "clip":
        raise WeightsError(f"{folder}: an encoder of the family {family} has no pooled state; clip has")


def check_type(folder: str | Path, types: Sequence[str], family: str) -> None:
    """Raise `WeightsError` unless `config.json` in `folder` names one of the model types of `family`."""
    found = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type")
    if found not in types:
        raise WeightsError(f"{folder}: holds a model of the type {found}, not of the family {family}")


def load_whole(cls: Any, folder: str | Path, dtype: torch.dtype) -> Any:
    """A model of transformers in eval mode without gradients. Weights that the folder lacks are an error, not noise."""
    try:
        model, told = cls.from_pretrained(str(folder), dtype=dtype, local_files_only=True, output_loading_info=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise WeightsError(f"{folder}: {cls.__name__} cannot be loaded: {first_line(error)}") from error
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise WeightsError(f"{folder}: {len(missing)} weights of {cls.__name__} are missing, {missing[0]} among them")
    return model.eval().requires_grad_(False)
