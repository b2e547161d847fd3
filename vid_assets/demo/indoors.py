"""Demo scenes without a horizon: toys on a cloth, an aquarium, clockwork, planets. See `scenes`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from vid_assets.demo import sprites
from vid_assets.demo.drawing import (
    FPS,
    FRAMES,
    SIZE,
    Array,
    blend,
    finish,
    hsv,
    noise,
    paste,
    ridge,
    seconds,
    shadow,
    smoothstep,
    strokes,
    window,
)


def moving_shapes(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Patterned toys turn and glide over a woven cloth; the camera drifts."""
    rng, unit, (width, height) = np.random.default_rng([seed, 1]), size[1] / 288, size
    hue = rng.random()
    weave = (np.add.outer(np.arange(height * 2) // 7, np.arange(width * 2) // 7) % 2).astype(np.float32)
    cloth = blend(
        noise(rng, width * 2, height * 2, 90) * 0.8 + weave * 0.2, hsv(hue, 0.5, 0.4), hsv(hue + 0.08, 0.4, 0.75)
    )
    strokes(rng, cloth, 0.008, 9 * unit, 0, 26)
    strokes(rng, cloth, 0.008, 9 * unit, 90, -26)
    floor = finish(rng, cloth)
    toys = [sprites.toy(rng, round(rng.uniform(52, 92) * unit), hue + 0.3 + 0.17 * i, i + seed) for i in range(6)]
    shades = [shadow(toy) for toy in toys]
    # Spread evenly at the start, so that they are rarely all in one corner.
    phase = np.stack([rng.permutation(6) * math.tau / 6 + rng.uniform(0, 0.8) for _ in range(3)], axis=1)
    speed = rng.uniform(0.35, 0.75, (6, 2))
    turn = rng.uniform(20, 60, 6) * rng.choice([-1, 1], 6)
    for t in seconds(frames, fps):
        frame = window(floor, (20 + 13 * t) * unit, (30 + 7 * t) * unit, size)
        for i, toy in enumerate(toys):
            x = width * (0.5 + 0.38 * math.sin(phase[i, 0] + speed[i, 0] * t * 1.6))
            y = height * (0.5 + 0.38 * math.sin(phase[i, 1] + speed[i, 1] * t * 1.6))
            angle = math.degrees(phase[i, 2]) + turn[i] * t
            paste(frame, shades[i], x + 5 * unit, y + 7 * unit, angle)
            paste(frame, toy, x, y, angle)
        yield frame


def aquarium(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Striped fish swim past weed and rising bubbles over a pebble floor."""
    rng, unit, (width, height) = np.random.default_rng([seed, 4]), size[1] / 288, size
    hue = rng.uniform(0.48, 0.6)
    depth = np.linspace(1, 0.25, height, dtype=np.float32)[:, None]
    water = blend(
        noise(rng, width * 2, height, 110) * 0.5 + depth * 0.5, hsv(hue + 0.05, 0.8, 0.25), hsv(hue, 0.55, 0.8)
    )
    pebbles = blend(smoothstep(noise(rng, width * 2, height, 14, 3), 0.3, 0.7), (92, 78, 60), (206, 186, 146))
    strokes(rng, pebbles, 0.03, 7 * unit, 30, -45)
    strokes(rng, water, 0.0016, 4 * unit, 20, 45)  # plankton
    ground = ridge(rng, width * 2, height, 0.86 * height, 0.1 * height, 80 * unit)[..., None]
    back = finish(rng, water * (1 - ground) + pebbles * ground)
    school = [
        sprites.fish(rng, round(rng.uniform(58, 104) * unit), rng.choice([0.02, 0.09, 0.14, 0.88])) for _ in range(6)
    ]
    mirrored = [np.ascontiguousarray(one[:, ::-1]) for one in school]
    to_right = rng.random(6) < 0.5
    place, speed, bob = rng.uniform(0, 1, 6), rng.uniform(38, 70, 6), rng.uniform(0, math.tau, 6)
    bubbles = [sprites.bubble(round(rng.uniform(8, 18) * unit)) for _ in range(10)]
    origin = rng.uniform(0, 1, (10, 2))
    for t in seconds(frames, fps):
        frame = window(back, (10 + 7 * t) * unit, 3 * math.sin(0.8 * t) * unit, size)
        for i in range(5):
            _weed(frame, (width * (0.12 + 0.2 * i) - 7 * t * unit), height, (64 + 22 * (i % 3)) * unit, t + i, unit)
        for i in range(10):
            up = (origin[i, 1] + 0.16 * t) % 1.1
            paste(frame, bubbles[i], width * origin[i, 0] + 5 * unit * math.sin(3 * t + i), height * (1.05 - up))
        for i in range(6):
            span = width + 130 * unit
            way = (place[i] * span + speed[i] * t * unit) % span
            x = (way if to_right[i] else span - way) - 65 * unit
            y = height * (0.12 + 0.125 * i) + 8 * unit * math.sin(1.7 * t + bob[i])
            paste(frame, (school if to_right[i] else mirrored)[i], x, y, 5 * math.sin(5 * t + bob[i]))
        yield frame


def gears(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Meshing toothed wheels turn before a board of wood; the camera slides along."""
    rng, unit, (width, height) = np.random.default_rng([seed, 7]), size[1] / 288, size
    fibres = cv2.resize(noise(rng, width // 4, height * 2, 24, 5), (width * 2, height * 2))
    hue = rng.choice([0.07, 0.55, 0.3])
    wood = blend(fibres, hsv(hue, 0.55, 0.3), hsv(hue + 0.02, 0.45, 0.68))
    strokes(rng, wood, 0.006, 26 * unit, 1.5, -40)
    strokes(rng, wood, 0.004, 20 * unit, 1.5, 30)
    wood[:: round(58 * unit)] *= 0.45  # seams between the planks
    wood[1 :: round(58 * unit)] *= 0.55
    board = finish(rng, wood, 6)
    metals = (hsv(0.12, 0.6, 0.85), hsv(0.04, 0.65, 0.75), hsv(0.58, 0.3, 0.75), hsv(0.45, 0.4, 0.7))
    # Neighbours turn against each other, at rates of the inverse of their numbers of teeth.
    teeth = (12, 18, 10, 15)
    wheels, at = [], []
    x, y, heading = 0.1 * width, 0.62 * height, -0.55
    for i, number in enumerate(teeth):
        wheels.append(sprites.gear(rng, round(number * 9.2 * unit), number, metals[(i + seed) % 4]))
        at.append((x, y))
        if i + 1 < len(teeth):
            reach = (number + teeth[i + 1]) * 9.2 * 0.445 * unit
            x, y, heading = x + reach * math.cos(heading), y + reach * math.sin(heading), -heading
    shades = [shadow(one, 0.5) for one in wheels]
    for t in seconds(frames, fps):
        slide = 9 * t * unit
        frame = window(board, 30 * unit + slide, 20 * unit, size)
        for i, one in enumerate(wheels):
            angle = 660 / teeth[i] * t * (-1) ** i
            paste(frame, shades[i], at[i][0] - slide + 6 * unit, at[i][1] + 8 * unit, angle)
            paste(frame, one, at[i][0] - slide, at[i][1], angle)
        yield frame


def orbits(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Planets circle a sun in a violet nebula full of stars."""
    rng, unit, (width, height) = np.random.default_rng([seed, 9]), size[1] / 288, size
    hue = rng.choice([0.75, 0.62, 0.9])
    cloud = blend(noise(rng, width * 2, height * 2, 150, 6) ** 1.5, hsv(hue, 0.7, 0.2), hsv(hue + 0.08, 0.6, 0.85))
    for x, y, bright in zip(
        rng.integers(1, width * 2, 900), rng.integers(1, height * 2, 900), rng.uniform(0.3, 1, 900)
    ):
        cv2.circle(cloud, (int(x), int(y)), int(bright > 0.75), (240 * bright, 235 * bright, 215 * bright), cv2.FILLED)
    back = finish(rng, cloud, 7)
    sun = sprites.planet(rng, round(84 * unit), 0.11)
    worlds = [
        sprites.planet(rng, round(s * unit), h)
        for s, h in zip((28, 40, 34, 52), rng.permutation([0.55, 0.02, 0.33, 0.83]))
    ]
    phase = rng.uniform(0, math.tau, 4)
    for t in seconds(frames, fps):
        frame = window(back, (40 + 10 * t) * unit, (60 + 5 * t) * unit, size, 1 + 0.012 * t, 1.5 * t)
        spots = []
        for i, world in enumerate(worlds):
            turn = phase[i] + t * (1.0 - 0.16 * i)
            reach = (0.19 + 0.085 * i) * width
            spots.append(
                (math.sin(turn), width / 2 + reach * math.cos(turn), height / 2 + reach * 0.5 * math.sin(turn), world)
            )
        spots.append((0.0, width / 2, height / 2, sun))
        for near, x, y, world in sorted(spots, key=lambda spot: spot[0]):
            paste(frame, world, x, y, -12 * t, 1 + 0.22 * near)
        yield frame


def _weed(frame: Array, x: float, foot: float, tall: float, t: float, unit: float) -> None:
    """A swaying water plant, drawn into the frame."""
    parts = np.linspace(0, 1, 12)
    sway = x + 13 * unit * parts**1.5 * np.sin(1.5 * t + 3 * parts)
    line = np.stack([sway, foot - tall * parts], axis=1)
    thick = max(round(7 * unit), 1)
    cv2.polylines(frame, [np.round(line * 16).astype(np.int32)], False, (46, 122, 72), thick, cv2.LINE_AA, 4)
    cv2.polylines(
        frame, [np.round(line * 16).astype(np.int32)], False, (104, 172, 92), max(thick // 3, 1), cv2.LINE_AA, 4
    )
