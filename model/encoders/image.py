"""The image encoder backend: frames to CLIP image embeddings, prepared as Stable Video Diffusion prepares them.

torch, transformers and diffusers are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.encoders.text import check_type, load_whole
from model.weights import image_levels

if TYPE_CHECKING:
    import torch

#: Bump by hand when the same frame and weights give another embedding.
IMAGE_CODE_VERSION = "1"


@dataclass(frozen=True)
class ImageEncoder:
    """A loaded encoder, with the mean and standard deviation of its input levels."""

    model: Any
    mean: torch.Tensor
    std: torch.Tensor

    @property
    def size(self) -> int:
        """Height and width of its input, pixels."""
        return int(self.model.config.image_size)


def load_image_encoder(folder: str | Path, dtype: str = "float32", device: str = "cpu") -> ImageEncoder:
    """Load the `CLIPVisionModelWithProjection` in `folder`.

    Args:
        folder: holds `config.json`, the weights of it or of a whole CLIP, and `preprocessor_config.json` (or
            `feature_extractor` beside it does).
        dtype: `float32`, `bfloat16` or `float16`; embeddings have it too.
        device: `auto`, `cpu`, `cuda` or a device that torch knows.

    Raises:
        WeightsError: the folder holds another kind of model, or not all of it.
    """
    import torch
    from transformers import CLIPVisionModelWithProjection
    from transformers.utils.logging import disable_progress_bar

    from model.compute.numerics import pick_device

    disable_progress_bar()  # standard error is a log, not a terminal
    check_type(folder, ("clip", "clip_vision_model"), "clip_vision")
    mean, std = (torch.tensor(levels).reshape(3, 1, 1) for levels in image_levels(folder))
    model = load_whole(CLIPVisionModelWithProjection, folder, getattr(torch, dtype))
    return ImageEncoder(model.to(pick_device(device)), mean, std)


def encode_images(encoder: ImageEncoder, images: Sequence[np.ndarray], batch_size: int = 16) -> list[torch.Tensor]:
    """The embedding (1, dim) of each image (H, W, 3), uint8 RGB of any size, on the CPU in the encoder's dtype.

    The whole image is brought to the encoder's square, without regard to its aspect. Values may be non-finite where a
    half-precision encoder overflowed: check before storing.
    """
    import torch

    embeddings: list[torch.Tensor] = []
    for start in range(0, len(images), batch_size):
        pixels = torch.stack([_prepared(encoder, image) for image in images[start : start + batch_size]])
        with torch.inference_mode():
            output = encoder.model(pixels.to(encoder.model.device, encoder.model.dtype)).image_embeds
        embeddings += [row.clone() for row in output[:, None].to("cpu", encoder.model.dtype)]
    return embeddings


def _prepared(encoder: ImageEncoder, image: np.ndarray) -> torch.Tensor:
    """The image as float32 (3, size, size): resized between -1 and 1, which is where the pipeline does it."""
    import torch
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    levels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255.0
    resized = _resize_with_antialiasing(levels * 2.0 - 1.0, (encoder.size, encoder.size))[0]
    return ((resized + 1.0) / 2.0 - encoder.mean) / encoder.std
