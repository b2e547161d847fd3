"""Still images, by Pillow. Belongs here: which formats count as stills, what their header says, reading one upright."""

from __future__ import annotations

import contextlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vid_assets.footage.geometry import EXIF_ORIENTATION
from vid_assets.footage.reader import DecodeError

if TYPE_CHECKING:
    from PIL import Image

#: Stills that Pillow reads, by content. An animation in one of these containers is a video.
STILL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_EXIF_TAG = 0x0112
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
#: What Pillow and its plugins raise on content that they cannot read; found by fuzzing.
_UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)
_SAMPLE_BITS = {"1": 1, "I": 32, "F": 32, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StillHeader:
    """The header of a still: width and height upright, clockwise `rotation` in degrees, then `mirrored` left-right."""

    format: str
    mode: str
    bit_depth: int
    width: int
    height: int
    rotation: int
    mirrored: bool


def still_header(path: str, max_pixels: int) -> StillHeader | None:
    """The header of the still at `path`; None where it is no still that Pillow knows.

    The EXIF orientation of a PNG may stand behind its pixels, which are then decoded; of a picture of more than
    `max_pixels`, it is not looked for.
    """
    try:
        with _open(path) as image:
            if image.format in _ANIMATED and getattr(image, "is_animated", False):
                return None
            too_large = image.width * image.height > max_pixels
            tag = 1 if too_large else image.getexif().get(_EXIF_TAG, 1)
            rotation, mirrored = EXIF_ORIENTATION.get(tag, (0, False))
            # Pillow tells the size of a TIFF as it will be once turned
            turned = rotation % 180 and image.format != "TIFF"
            width, height = image.size[::-1] if turned else image.size
            name = (image.format or "").lower()
            return StillHeader(name, image.mode, _bit_depth(image), width, height, rotation, mirrored)
    except _UNREADABLE:
        return None


#: TIFF's SMinSampleValue and MinSampleValue, and the same of the largest.
_RANGE_TAGS = ((340, 280), (341, 281))


def is_heif(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an HEIF still (HEIC), which not every installation can read."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head


def heif_is_installed() -> bool:
    """Whether the optional reader of HEIC stills, the extra `heic`, is there."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def read_image(path: str) -> np.ndarray:
    """A still as (H, W, 3) uint8 RGB, upright by its EXIF orientation; the first frame of an animation.

    16-bit samples are scaled to 8 bits, wider ones by the range that the file declares, or else from 0 to 1 for numbers
    with a fraction; transparency is shown on black. Raises `DecodeError` when it cannot be read, or says no range.
    """
    from PIL import Image, ImageOps

    try:
        with _open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("F", "I") and opened.format != "PNG":  # there, I is of 16 bits
                image = Image.fromarray(_by_range(path, image, opened))
            elif image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except _UNREADABLE as error:
        raise DecodeError(path, f"cannot be decoded: {error}") from None


def _by_range(path: str, image: Image.Image, opened: Image.Image) -> np.ndarray:
    """Wide samples as (H, W) uint8: by the least and the largest value that a TIFF's tags declare."""
    values = np.asarray(image).astype(np.float64)
    tags = getattr(opened, "tag_v2", {})
    low, high = (next((_number(tags[tag]) for tag in names if tag in tags), None) for names in _RANGE_TAGS)
    if high is None and image.mode == "F" and values.min() >= 0 and values.max() <= 1:
        low, high = 0.0, 1.0
    if high is None or not np.isfinite(values).all() or high <= (low or 0.0):
        kind = "numbers with a fraction" if image.mode == "F" else "integers of 32 bits"
        raise DecodeError(
            path,
            f"its samples are {kind} from {values.min():g} to {values.max():g}, and it declares no range; store it in "
            "8 or 16 bits, or from 0 to 1",
        )
    scaled = (values - (low or 0.0)) / (high - (low or 0.0))
    return np.clip(np.round(255 * scaled), 0, 255).astype(np.uint8)


def _number(value: object) -> float:
    return float(value[0] if isinstance(value, tuple) else value)  # type: ignore[arg-type]


@contextlib.contextmanager
def _open(path: str) -> Iterator[Image.Image]:
    """Open by content. Pillow's own limit of pixels is off (ours is `decoding.max_pixels`), its warnings are logged."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    formats = (*STILL_FORMATS, "HEIF") if _looks_like_heif(path) and heif_is_installed() else STILL_FORMATS
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with Image.open(path, formats=formats) as image:
                yield image
        for warning in told:
            _logger.debug("%s", warning.message)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _looks_like_heif(path: str) -> bool:
    with open(path, "rb") as file:
        return is_heif(file.read(64))


def _bit_depth(image: Image.Image) -> int:
    """Bits of a sample. Pillow shows 16-bit colour as 8-bit; only the way it unpacks the data tells."""
    tiles = getattr(image, "tile", None)
    if tiles and "16" in str(tiles[0][3]):
        return 16
    return _SAMPLE_BITS.get(image.mode, 8)
