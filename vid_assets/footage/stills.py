"""Still images, by Pillow. Belongs here: which formats count as stills, and reading one upright."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np

from vid_assets.footage.reader import DecodeError

#: Stills that Pillow reads, by content. An animation in one of these containers is a video.
STILL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keeps Pillow's warnings about damaged metadata off the console."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_image(path: str) -> np.ndarray:
    """A still as (H, W, 3) uint8 RGB, upright by its EXIF orientation; the first frame of an animation.

    16-bit samples are scaled to 8 bits; transparency is shown on black. Raises `DecodeError` when it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with quiet_pillow(), Image.open(path, formats=STILL_FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DecodeError(path, f"cannot be decoded: {error}") from None
