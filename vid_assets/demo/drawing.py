"""What scenes are made of: noise, textured surfaces, sprites, and how they are placed at sub-pixel positions.

Images are uint8 RGB (H, W, 3); layers and sprites are uint8 RGBA (H, W, 4) with premultiplied alpha. Colours are
RGB triples in 0-255, lengths are pixels, angles degrees (counter-clockwise). Everything random comes from the
generator that is passed in, so equal seeds give equal pixels.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

Colour = Sequence[float]
Array = np.ndarray

#: Size (width, height), number of frames and frames a second that scenes have unless told otherwise.
SIZE, FRAMES, FPS = (384, 288), 120, 24

#: Sprites are drawn this much larger and shrunk, which smooths their edges.
_OVERSAMPLE = 4


def hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """A colour from hue, saturation and value in 0-1; the hue wraps."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red * 255, green * 255, blue * 255


def noise(rng: np.random.Generator, width: int, height: int, cell: float, octaves: int = 4) -> Array:
    """Value noise, float32 (height, width) in 0-1; `cell` is the size of its largest blobs, each octave halves it."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.0)
        rows, columns = math.ceil(height / step) + 2, math.ceil(width / step) + 2
        grid = rng.random((rows, columns), dtype=np.float32)
        full = cv2.resize(grid, (round(columns * step), round(rows * step)), interpolation=cv2.INTER_CUBIC)
        total += full[:height, :width] * 0.6**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def blend(amount: Array, low: Colour, high: Colour) -> Array:
    """Float image (H, W, 3) between two colours, by `amount` (H, W) in 0-1."""
    start, end = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return start + (end - start) * amount[..., None]


def finish(rng: np.random.Generator, image: Array, grain: float = 8.0) -> Array:
    """Give a float image a fine fixed grain, so that it stays sharp to look at, and turn it into uint8.

    Values end in 12-243: like footage that is exposed well, nothing is clipped.
    """
    height, width = image.shape[:2]
    fine = noise(rng, width, height, 3.0, 2) - 0.5
    return np.clip(image + fine[..., None] * grain * 4, 12, 243).astype(np.uint8)


def strokes(
    rng: np.random.Generator, image: Array, share: float, length: float, slope: float, light: float, thick: int = 1
) -> None:
    """Draw short crisp lines into a float image, in place: grass, cracks, glints.

    One line for every 1 / `share` pixels, `length` long on average, `slope` degrees from level (each varies by a
    half). Colours are those of the place, brighter by up to `light` (darker where it is negative).
    """
    height, width = image.shape[:2]
    count = round(width * height * share)
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    reach, turn = length * rng.uniform(0.5, 1.5, count), np.radians(slope * rng.uniform(0.5, 1.5, count))
    ends = np.rint(np.stack([x + reach * np.cos(turn), y - reach * np.sin(turn)], axis=1)).astype(int).tolist()
    colours = (image[y, x] + light * rng.uniform(0.4, 1, (count, 1))).tolist()
    for start, end, colour in zip(zip(x.tolist(), y.tolist()), ends, colours):
        cv2.line(image, start, end, colour, thick)


def smoothstep(values: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return scaled * scaled * (3 - 2 * scaled)


def masked(image: Array, mask: Array) -> Array:
    """A layer: uint8 RGB `image` shown where `mask` (H, W, 0-1) is 1."""
    alpha = mask[..., None].astype(np.float32)
    return np.concatenate([image * alpha, alpha * 255], axis=2).astype(np.uint8)


def ridge(rng: np.random.Generator, width: int, height: int, level: float, relief: float, cell: float) -> Array:
    """Mask of the ground below a random skyline, whose mean is `level` from the top and which varies by `relief`."""
    skyline = level + (noise(rng, width, 1, cell, 5)[0] - 0.5) * relief
    return np.clip(np.arange(height, dtype=np.float32)[:, None] - skyline[None, :] + 0.5, 0, 1)


def sprite(width: int, height: int, draw: Callable[[Array, float], None]) -> Array:
    """A layer of that size which `draw(canvas, scale)` paints with OpenCV in `scale` times larger coordinates.

    A pixel is opaque where `draw` painted anything but (0, 0, 0).
    """
    canvas = np.zeros((height * _OVERSAMPLE, width * _OVERSAMPLE, 3), np.uint8)
    draw(canvas, _OVERSAMPLE)
    alpha = np.where(canvas.any(axis=2), 255, 0).astype(np.uint8)
    return cv2.resize(np.dstack([canvas, alpha]), (width, height), interpolation=cv2.INTER_AREA)


def weathered(rng: np.random.Generator, layer: Array, strength: float = 0.35, cell: float = 6.0) -> Array:
    """The layer with its colours varied by noise, as paint or cloth has it."""
    height, width = layer.shape[:2]
    shade = 1 - strength * noise(rng, width, height, cell, 3)
    return np.concatenate([layer[..., :3] * shade[..., None], layer[..., 3:]], axis=2).astype(np.uint8)


def shadow(layer: Array, darkness: float = 0.35) -> Array:
    """The soft shadow that the layer casts, itself a layer."""
    alpha = cv2.GaussianBlur(layer[..., 3], (0, 0), 2.0) * darkness
    return np.dstack([np.zeros_like(layer[..., :3]), alpha.astype(np.uint8)])


def window(texture: Array, x: float, y: float, size: tuple[int, int], zoom: float = 1.0, angle: float = 0.0) -> Array:
    """What a camera of `size` (width, height) sees of a texture when its top-left corner is at (x, y).

    It turns and zooms about the centre of the view. Beyond its edge the texture is mirrored.
    """
    width, height = size
    inside = x >= 0 and y >= 0 and x + width <= texture.shape[1] and y + height <= texture.shape[0]
    if zoom == 1 and angle == 0 and inside:
        return _shifted(texture, x, y, width, height)
    turn = math.radians(angle)
    cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
    cx, cy = x + width / 2, y + height / 2
    matrix = np.array(
        [
            [cos, sin, cx - cos * width / 2 - sin * height / 2],
            [-sin, cos, cy + sin * width / 2 - cos * height / 2],
        ]
    )
    # Cubic, because linear sampling between pixels would blur the grain and let the sharpness pulse with the motion.
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(texture, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _shifted(texture: Array, x: float, y: float, width: int, height: int) -> Array:
    """The same for a camera that only slides: a separable filter does it in a fraction of the time."""
    left, top = math.floor(x), math.floor(y)
    first_column, first_row = max(left - 1, 0), max(top - 1, 0)
    part = texture[first_row : top + height + 2, first_column : left + width + 2]
    moved = cv2.sepFilter2D(
        part, -1, _cubic(x - left), _cubic(y - top), anchor=(1, 1), borderType=cv2.BORDER_REFLECT_101
    )
    down, right = top - first_row, left - first_column
    return np.ascontiguousarray(moved[down : down + height, right : right + width])


def _cubic(part: float) -> Array:
    """Weights of the pixels at -1, 0, 1 and 2 for a position `part` (0-1) after pixel 0, by Catmull and Rom."""
    t = part
    return np.array([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]) / 2


def over(frame: Array, layer: Array) -> None:
    """Put a layer of the same size over the frame, in place."""
    rest = cv2.cvtColor(255 - cv2.extractChannel(layer, 3), cv2.COLOR_GRAY2RGB)
    frame[:] = cv2.add(cv2.multiply(frame, rest, scale=1 / 255), cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB))


class Backdrop:
    """A layer larger than the frame, such as hills, that lies below some row and that the camera pans over."""

    def __init__(self, layer: Array) -> None:
        self.layer = layer
        self.top = int(np.argmax(layer[..., 3].any(axis=1)))

    def draw(self, frame: Array, x: float, y: float = 0.0) -> None:
        """Put it over the frame, in place; (x, y) of the layer comes to the frame's top-left corner."""
        first = max(math.floor(self.top - y) - 2, 0)  # nothing to do above its top
        height, width = frame.shape[:2]
        over(frame[first:], window(self.layer, x, y + first, (width, height - first)))


def paste(frame: Array, layer: Array, x: float, y: float, angle: float = 0.0, scale: float = 1.0) -> None:
    """Put a sprite over the frame with its centre at (x, y), turned and scaled, in place; outside parts are cut."""
    height, width = layer.shape[:2]
    radius = math.ceil(math.hypot(width, height) / 2 * scale) + 2
    left, top = max(math.floor(x) - radius, 0), max(math.floor(y) - radius, 0)
    right, bottom = min(math.floor(x) + radius, frame.shape[1]), min(math.floor(y) + radius, frame.shape[0])
    if left >= right or top >= bottom:
        return
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    matrix[:, 2] += (x - left - width / 2, y - top - height / 2)
    placed = cv2.warpAffine(layer, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    over(frame[top:bottom, left:right], placed)


def polygon(canvas: Array, points: Sequence[tuple[float, float]], colour: Colour, scale: float) -> None:
    """Fill a polygon whose corners are given in unscaled pixels."""
    corners = np.array([[round(px * scale), round(py * scale)] for px, py in points], np.int32)
    cv2.fillPoly(canvas, [corners], tuple(float(part) for part in colour))


def ellipse(
    canvas: Array, centre: tuple[float, float], radii: tuple[float, float], colour: Colour, scale: float
) -> None:
    """Fill an upright ellipse given in unscaled pixels."""
    middle = (round(centre[0] * scale), round(centre[1] * scale))
    axes = (max(round(radii[0] * scale), 1), max(round(radii[1] * scale), 1))
    cv2.ellipse(canvas, middle, axes, 0, 0, 360, tuple(float(part) for part in colour), cv2.FILLED)


def seconds(frames: int, fps: float) -> Iterator[float]:
    """The time of each frame."""
    return (number / fps for number in range(frames))
