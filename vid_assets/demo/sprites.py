"""The things that move in the demo scenes: balloons, fish, boats, cars, gears, leaves, planets, toys.

Each function draws one sprite: uint8 RGBA (H, W, 4), premultiplied, about `size` pixels across.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from vid_assets.demo.drawing import (
    Array,
    Colour,
    blend,
    ellipse,
    hsv,
    masked,
    noise,
    polygon,
    smoothstep,
    sprite,
    weathered,
)

_DARK = (38, 34, 40)
_CREAM = (236, 226, 200)


def balloon(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A striped hot-air balloon with its basket."""
    stripes = (hsv(hue, 0.8, 0.9), _CREAM, hsv(hue + 0.1, 0.75, 0.85), hsv(hue + 0.5, 0.55, 0.75))

    def draw(canvas: Array, scale: float) -> None:
        middle, radius = size * 0.5, size * 0.46
        for side in (-0.1, 0.1):  # ropes
            polygon(canvas, [(middle + size * side, size * 0.8), (middle + size * side * 2.6, size * 0.75),
                             (middle + size * side * 0.9, size * 1.18), (middle + size * side * 0.8, size * 1.18)],
                    _DARK, scale)  # fmt: skip
        for number in range(5):  # narrower ellipses over wider ones look like gores
            part = radius * (1 - number * 0.21)
            colour = stripes[number % len(stripes)]
            ellipse(canvas, (middle, size * 0.48), (part, radius), colour, scale)
            polygon(canvas, [(middle - part * 0.93, size * 0.62), (middle + part * 0.93, size * 0.62),
                             (middle + part * 0.3, size * 1.0), (middle - part * 0.3, size * 1.0)],
                    colour, scale)  # fmt: skip
        polygon(canvas, [(size * 0.39, size * 1.14), (size * 0.61, size * 1.14), (size * 0.58, size * 1.3),
                         (size * 0.42, size * 1.3)], (139, 94, 52), scale)  # fmt: skip

    return weathered(rng, sprite(size, round(size * 1.32), draw), 0.25)


def fish(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A striped fish that looks to the right."""
    height = round(size * 0.6)

    def draw(canvas: Array, scale: float) -> None:
        middle = height / 2
        fin = hsv(hue + 0.07, 0.85, 0.8)
        polygon(canvas, [(size * 0.3, middle), (size * 0.02, height * 0.12), (size * 0.1, middle),
                         (size * 0.02, height * 0.88)], fin, scale)  # fmt: skip
        polygon(canvas, [(size * 0.45, height * 0.3), (size * 0.5, height * 0.03), (size * 0.75, height * 0.3)],
                fin, scale)  # fmt: skip
        ellipse(canvas, (size * 0.58, middle), (size * 0.37, height * 0.34), hsv(hue, 0.85, 0.92), scale)
        for place in (0.38, 0.54, 0.68):
            half = height * 0.33 * math.sqrt(max(1 - ((place - 0.58) / 0.37) ** 2, 0))
            polygon(canvas, [(size * place, middle - half), (size * (place + 0.06), middle - half * 0.96),
                             (size * (place + 0.04), middle + half * 0.96), (size * (place - 0.02), middle + half)],
                    _CREAM, scale)  # fmt: skip
        ellipse(canvas, (size * 0.83, middle - height * 0.06), (size * 0.045, size * 0.045), _CREAM, scale)
        ellipse(canvas, (size * 0.84, middle - height * 0.06), (size * 0.024, size * 0.024), _DARK, scale)

    return weathered(rng, sprite(size, height, draw), 0.25, 4.0)


def bubble(size: int) -> Array:
    """A small light ring."""

    def draw(canvas: Array, scale: float) -> None:
        centre = (round(size * scale / 2),) * 2
        cv2.circle(canvas, centre, round(size * scale * 0.4), (190, 225, 235), round(scale))
        cv2.circle(canvas, (round(size * scale * 0.4),) * 2, round(scale), (235, 242, 242), cv2.FILLED)

    return sprite(size, size, draw)


def boat(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A sailing boat; the centre of the sprite lies on its water line."""

    def draw(canvas: Array, scale: float) -> None:
        polygon(canvas, [(size * 0.49, size * 0.06), (size * 0.52, size * 0.06), (size * 0.52, size * 0.5),
                         (size * 0.49, size * 0.5)], (92, 66, 44), scale)  # fmt: skip
        polygon(canvas, [(size * 0.54, size * 0.08), (size * 0.86, size * 0.45), (size * 0.54, size * 0.45)],
                hsv(hue, 0.75, 0.9), scale)  # fmt: skip
        for number in range(3):
            top, reach = size * (0.2 + number * 0.1), size * (0.6 + number * 0.09)
            low = top + size * 0.03
            corners = [(size * 0.54, top), (reach, top), (reach + size * 0.02, low), (size * 0.54, low)]
            polygon(canvas, corners, _CREAM, scale)
        polygon(canvas, [(size * 0.47, size * 0.14), (size * 0.2, size * 0.45), (size * 0.47, size * 0.45)],
                _CREAM, scale)  # fmt: skip
        polygon(canvas, [(size * 0.1, size * 0.5), (size * 0.92, size * 0.5), (size * 0.78, size * 0.66),
                         (size * 0.24, size * 0.66)], hsv(hue + 0.55, 0.7, 0.6), scale)  # fmt: skip
        polygon(canvas, [(size * 0.1, size * 0.5), (size * 0.92, size * 0.5), (size * 0.9, size * 0.53),
                         (size * 0.12, size * 0.53)], _CREAM, scale)  # fmt: skip

    return weathered(rng, sprite(size, size, draw), 0.25)


def car(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A car seen from its right side, without wheels."""
    height = round(size * 0.42)

    def draw(canvas: Array, scale: float) -> None:
        paint = hsv(hue, 0.82, 0.85)
        polygon(canvas, [(size * 0.22, height * 0.45), (size * 0.33, height * 0.06), (size * 0.66, height * 0.06),
                         (size * 0.8, height * 0.45)], paint, scale)  # fmt: skip
        for left, right in (((0.28, 0.35), (0.48, 0.48)), ((0.51, 0.51), (0.65, 0.74))):
            polygon(canvas, [(size * left[0], height * 0.44), (size * left[1], height * 0.13),
                             (size * right[0], height * 0.13), (size * right[1], height * 0.44)],
                    (158, 200, 214), scale)  # fmt: skip
        polygon(canvas, [(size * 0.02, height * 0.5), (size * 0.2, height * 0.43), (size * 0.82, height * 0.43),
                         (size * 0.98, height * 0.56), (size * 0.98, height * 0.86), (size * 0.02, height * 0.86)],
                paint, scale)  # fmt: skip
        polygon(canvas, [(size * 0.02, height * 0.64), (size * 0.98, height * 0.64), (size * 0.98, height * 0.7),
                         (size * 0.02, height * 0.7)], _CREAM, scale)  # fmt: skip
        ellipse(canvas, (size * 0.94, height * 0.58), (size * 0.03, size * 0.03), (240, 226, 140), scale)

    return weathered(rng, sprite(size, height, draw), 0.2)


def wheel(size: int) -> Array:
    """A tyre with spokes, to be turned."""

    def draw(canvas: Array, scale: float) -> None:
        middle = size / 2
        ellipse(canvas, (middle, middle), (size * 0.48, size * 0.48), _DARK, scale)
        ellipse(canvas, (middle, middle), (size * 0.32, size * 0.32), (186, 188, 192), scale)
        for number in range(5):
            turn = number * math.tau / 5
            end = (
                round((middle + math.cos(turn) * size * 0.3) * scale),
                round((middle + math.sin(turn) * size * 0.3) * scale),
            )
            cv2.line(canvas, (round(middle * scale),) * 2, end, _DARK, round(scale * size * 0.06))

    return sprite(size, size, draw)


def gear(rng: np.random.Generator, size: int, teeth: int, colour: Colour) -> Array:
    """A toothed wheel with holes between its spokes."""
    middle = size / 2

    def draw(canvas: Array, scale: float) -> None:
        rim = []
        for step in range(teeth * 4):
            radius = size * (0.48 if step % 4 < 2 else 0.41)
            turn = (step + (0.2 if step % 2 else -0.2)) * math.tau / (teeth * 4)
            rim.append((middle + math.cos(turn) * radius, middle + math.sin(turn) * radius))
        polygon(canvas, rim, colour, scale)
        ellipse(canvas, (middle, middle), (size * 0.34, size * 0.34), [part * 0.72 for part in colour], scale)
        for number in range(5):
            turn = number * math.tau / 5
            place = (middle + math.cos(turn) * size * 0.22, middle + math.sin(turn) * size * 0.22)
            ellipse(canvas, place, (size * 0.085, size * 0.085), (0, 0, 0), scale)
        ellipse(canvas, (middle, middle), (size * 0.1, size * 0.1), _CREAM, scale)
        ellipse(canvas, (middle, middle), (size * 0.045, size * 0.045), _DARK, scale)

    return weathered(rng, sprite(size, size, draw), 0.35, 8.0)


def leaf(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A pointed leaf with its vein."""

    def draw(canvas: Array, scale: float) -> None:
        side = [
            (size * 0.05 + size * 0.9 * part, math.sin(math.pi * part**0.8) * size * 0.24)
            for part in np.linspace(0, 1, 24)
        ]
        edge = [(px, size / 2 - py) for px, py in side] + [(px, size / 2 + py) for px, py in reversed(side)]
        polygon(canvas, edge, hsv(hue, 0.85, 0.85), scale)
        polygon(canvas, [(0, size * 0.48), (size * 0.9, size * 0.5), (0, size * 0.53)], hsv(hue, 0.7, 0.5), scale)

    return weathered(rng, sprite(size, size, draw), 0.35, 4.0)


def planet(rng: np.random.Generator, size: int, hue: float) -> Array:
    """A banded planet lit from the left."""
    bands = noise(rng, 4, size, size / 4, 3)[:, :1] + 0.25 * noise(rng, size, size, size / 3, 4)
    surface = blend(np.clip(bands, 0, 1), hsv(hue, 0.75, 0.55), hsv(hue + 0.06, 0.4, 0.95))
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    across, down = np.meshgrid(grid, grid)
    light = np.clip(1.05 - 0.55 * np.hypot(across + 0.45, down + 0.35), 0.25, 1)
    disc = 1 - smoothstep(np.hypot(across, down), 0.94, 0.94 + 3 / size)
    return masked((surface * light[..., None]).astype(np.uint8), disc)


def toy(rng: np.random.Generator, size: int, hue: float, form: int) -> Array:
    """A toy with a pattern; `form` chooses a striped disc, a chequered square, a dotted triangle or a star."""
    base, other = hsv(hue, 0.8, 0.9), hsv(hue + 0.45, 0.6, 0.95)
    middle = size / 2

    def draw(canvas: Array, scale: float) -> None:
        if form % 4 == 0:
            for number in range(4):
                ellipse(
                    canvas, (middle, middle), (size * (0.47 - number * 0.12),) * 2, (base, other)[number % 2], scale
                )
        elif form % 4 == 1:
            side = size * 0.18
            for row in range(4):
                for column in range(4):
                    x, y = size * 0.14 + column * side, size * 0.14 + row * side
                    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
                    polygon(canvas, corners, (base, other)[(row + column) % 2], scale)
        elif form % 4 == 2:
            corners = [(middle + math.sin(turn) * size * 0.47, middle - math.cos(turn) * size * 0.47)
                       for turn in (0, math.tau / 3, 2 * math.tau / 3)]  # fmt: skip
            polygon(canvas, corners, base, scale)
            for turn in (0, math.tau / 3, 2 * math.tau / 3):
                place = (middle + math.sin(turn) * size * 0.18, middle - math.cos(turn) * size * 0.18)
                ellipse(canvas, place, (size * 0.07, size * 0.07), other, scale)
        else:
            for radius, colour in ((0.48, base), (0.28, other)):
                corners = []
                for step in range(10):
                    reach = size * radius * (1 if step % 2 == 0 else 0.45)
                    corners.append((middle + math.sin(step * math.tau / 10) * reach,
                                    middle - math.cos(step * math.tau / 10) * reach))  # fmt: skip
                polygon(canvas, corners, colour, scale)

    return weathered(rng, sprite(size, size, draw), 0.25)


def aeroplane(size: int) -> Array:
    """An aeroplane from above, flying left."""

    def draw(canvas: Array, scale: float) -> None:
        for points, colour in (
            ([(0.38, 0.02), (0.48, 0.02), (0.58, 0.5), (0.48, 0.98), (0.38, 0.98), (0.42, 0.5)], (206, 66, 56)),
            ([(0.86, 0.32), (0.94, 0.32), (0.9, 0.5), (0.94, 0.68), (0.86, 0.68), (0.8, 0.5)], (206, 66, 56)),
            ([(0.03, 0.5), (0.12, 0.44), (0.9, 0.47), (0.97, 0.5), (0.9, 0.53), (0.12, 0.56)], (236, 232, 222)),
            ([(0.12, 0.46), (0.2, 0.45), (0.2, 0.55), (0.12, 0.54)], (70, 110, 140)),
        ):
            polygon(canvas, [(x * size, y * size) for x, y in points], colour, scale)

    return sprite(size, size, draw)
