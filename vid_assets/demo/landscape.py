"""Skies, hills and forests: the wide backgrounds that the demo scenes pan over."""

from __future__ import annotations

import numpy as np

from vid_assets.demo.drawing import (
    Array,
    Backdrop,
    Colour,
    blend,
    finish,
    masked,
    noise,
    polygon,
    ridge,
    smoothstep,
    strokes,
)


def sky(rng: np.random.Generator, width: int, height: int, top: Colour, horizon: Colour) -> Array:
    """Float image of a graded sky with clouds."""
    down = np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, axis=1)
    clouds = smoothstep(noise(rng, width, height, height / 2.5, 7), 0.5, 0.8)[..., None] * 0.75
    return blend(down, top, horizon) * (1 - clouds) + np.array([228, 226, 222], np.float32) * clouds


def ridge_layer(
    rng: np.random.Generator, width: int, height: int, level: float, relief: float, cell: float, colour: Colour
) -> Backdrop:
    """A layer of ground below a random skyline; `level`, `relief` and `cell` as in `drawing.ridge`."""
    ground = blend(noise(rng, width, height, 40, 5), [part * 0.55 for part in colour], [part * 1.35 for part in colour])
    strokes(rng, ground, 0.012, cell * 0.06, 60, -42)
    strokes(rng, ground, 0.012, cell * 0.05, 110, 34)
    return Backdrop(masked(finish(rng, ground), ridge(rng, width, height, level, relief, cell)))


def forest(rng: np.random.Generator, width: int, height: int, unit: float, level: float = 0.84) -> Backdrop:
    """A layer of meadow with fir trees standing on it."""
    ground = ridge_layer(rng, width, height, (level + 0.06) * height, 0.06 * height, 90 * unit, (96, 128, 70))
    for x in np.sort(rng.uniform(0, width, round(width / (22 * unit)))):
        tall, foot = rng.uniform(34, 74) * unit, rng.uniform(level + 0.06, level + 0.12) * height
        shade = rng.uniform(0.75, 1.25)
        for tier in range(3):
            top, half = foot - tall * (1 - 0.2 * tier), tall * (0.13 + 0.07 * tier)
            corners = [(x, top), (x + half, top + tall * 0.42), (x - half, top + tall * 0.42)]
            colour = [*np.array((34, 74 + 14 * tier, 52)) * shade, 255]
            polygon(ground.layer, corners, colour, 1)
            polygon(
                ground.layer, [corners[0], corners[2], (x, top + tall * 0.42)], [*np.array(colour[:3]) * 0.72, 255], 1
            )
    return Backdrop(ground.layer)
