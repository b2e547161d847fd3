"""Demo scenes under the sky: mountains, balloons, boats, a road, leaves, fields. See `scenes`."""

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
    Backdrop,
    blend,
    finish,
    hsv,
    masked,
    noise,
    paste,
    seconds,
    shadow,
    strokes,
    window,
)
from vid_assets.demo.landscape import forest, ridge_layer, sky


def mountain_pan(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """The camera pans over mountain ridges and a forest, near ones faster than far ones."""
    rng, unit, (width, height) = np.random.default_rng([seed, 2]), size[1] / 288, size
    wide, hue = width * 2, rng.choice([0.56, 0.02, 0.62, 0.09])
    air = finish(rng, sky(rng, wide, height, hsv(hue, 0.55, 0.75), hsv(hue + 0.5, 0.25, 0.9)))
    ridges = []
    for i in range(2):
        rock = hsv(hue + 0.03 * i, 0.35 + 0.1 * i, 0.55 - 0.12 * i)
        level, relief, cell = (0.42 + 0.16 * i) * height, (0.5 - 0.1 * i) * height, (200 - 40 * i) * unit
        ridges.append(ridge_layer(rng, wide, height, level, relief, cell, rock))
    ridges.append(forest(rng, wide, height, unit))
    for t in seconds(frames, fps):
        frame = window(air, 6 * t * unit, 0, size)
        for layer, speed in zip(ridges, (14, 26, 46)):
            layer.draw(frame, speed * t * unit)
        yield frame


def balloons(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Hot-air balloons rise over rolling hills under drifting clouds."""
    rng, unit, (width, height) = np.random.default_rng([seed, 3]), size[1] / 288, size
    air = finish(rng, sky(rng, width * 2, height, (78, 132, 190), (196, 205, 196)))
    hills = [ridge_layer(rng, width * 2, height, (0.72 + 0.12 * i) * height, 0.22 * height, 150 * unit,
                          hsv(0.27 + 0.03 * i, 0.45, 0.55 - 0.13 * i)) for i in range(2)]  # fmt: skip
    count = 5
    scales = np.sort(rng.uniform(0.5, 1.15, count))
    crafts = [sprites.balloon(rng, round(86 * unit * scales[i]), rng.random()) for i in range(count)]
    starts = np.stack([rng.permutation((np.arange(count) + 0.5) / count), rng.uniform(0.4, 0.95, count)], axis=1)
    for t in seconds(frames, fps):
        frame = window(air, 9 * t * unit, 0, size)
        for layer, speed in zip(hills, (12, 20)):
            layer.draw(frame, speed * t * unit)
        for i, craft in enumerate(crafts):
            x = starts[i, 0] * width + (8 * math.sin(0.9 * t + i) + (i - 2) * 5 * t) * unit
            y = starts[i, 1] * height - 18 * scales[i] * t * unit
            paste(frame, craft, x, y, 3 * math.sin(1.3 * t + 2 * i))
        yield frame


def regatta(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Sailing boats bob on rolling waves before a coast."""
    rng, unit, (width, height) = np.random.default_rng([seed, 5]), size[1] / 288, size
    back = finish(rng, sky(rng, width * 2, height, (214, 140, 96), (236, 206, 150)))
    coast = ridge_layer(rng, width * 2, height, 0.45 * height, 0.18 * height, 120 * unit, (104, 84, 108))
    waves = []
    for i in range(4):
        water = (hsv(0.53 + 0.02 * i, 0.7, 0.55 - 0.07 * i), hsv(0.5, 0.45, 0.85 - 0.08 * i))
        body = blend(noise(rng, width * 2, height, 26), *water)
        strokes(rng, body, 0.006, 11 * unit, 6, 55)
        strokes(rng, body, 0.006, 14 * unit, -5, -35)
        body = finish(rng, body)
        across = np.arange(width * 2) / unit
        crest = (0.5 + 0.13 * i) * height + unit * (5 + i) * np.sin(across * math.tau / (70 + 14 * i))
        waves.append(Backdrop(masked(body, np.clip(np.arange(height)[:, None] - crest[None, :], 0, 1))))
    fleet = [sprites.boat(rng, round((64 + 26 * i) * unit), rng.random()) for i in range(3)]
    start = rng.permutation([0.15, 0.5, 0.8])
    for t in seconds(frames, fps):
        frame = window(back, 5 * t * unit, 0, size)
        coast.draw(frame, 9 * t * unit)
        for i, wave in enumerate(waves):
            if i:
                x = width * start[i - 1] + (-1) ** i * (13 + 4 * i) * t * unit
                y = (0.42 + 0.13 * i) * height + 5 * unit * math.sin(1.8 * t + 2 * i)
                paste(frame, fleet[i - 1], x, y, 6 * math.sin(1.5 * t + i))
            drift = (150 + (-1) ** i * (9 + 4 * i) * t) * unit  # neighbouring waves roll against each other
            wave.draw(frame, drift, 4 * unit * math.sin(1.4 * t + i))
        yield frame


def road_trip(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """The camera follows a car along a country road, past hills and trees."""
    rng, unit, (width, height) = np.random.default_rng([seed, 6]), size[1] / 288, size
    wide = width * 3
    air = finish(rng, sky(rng, width * 2, height, (94, 150, 196), (214, 206, 176)))
    hills = ridge_layer(rng, wide, height, 0.5 * height, 0.3 * height, 160 * unit, hsv(0.22, 0.4, 0.58))
    trees = forest(rng, wide, height, unit, 0.62)
    road = blend(noise(rng, wide, height, 8, 3), (74, 72, 78), (116, 112, 112))
    down, across = np.mgrid[0:height, 0:wide]
    dash = (abs(down - 0.885 * height) < 2.2 * unit) & (across % (56 * unit) < 30 * unit)
    road[dash] = (226, 214, 160)
    tarmac = Backdrop(masked(finish(rng, road), np.clip(down - 0.77 * height, 0, 1)))
    body, tyre = sprites.car(rng, round(150 * unit), rng.random()), sprites.wheel(round(34 * unit))
    for t in seconds(frames, fps):
        frame = window(air, 5 * t * unit, 0, size)
        for layer, speed in ((hills, 18), (trees, 52), (tarmac, 84)):
            layer.draw(frame, speed * t * unit)
        x, y = width * (0.42 + 0.08 * math.sin(0.7 * t)), 0.775 * height + 1.3 * unit * math.sin(9 * t)
        paste(frame, body, x, y)
        for side in (-0.3, 0.31):
            paste(frame, tyre, x + side * 150 * unit, 0.775 * height + 24 * unit, -290 * t)
        yield frame


def falling_leaves(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """Autumn leaves sway down before an evening forest."""
    rng, unit, (width, height) = np.random.default_rng([seed, 8]), size[1] / 288, size
    haze = blend(noise(rng, width * 2, height, 140), (70, 92, 84), (176, 176, 128))
    for _ in range(26):
        x, thick = rng.integers(0, width * 2), rng.integers(4, 16) * unit
        dark = np.array(hsv(0.08, 0.35, rng.uniform(0.22, 0.42)))
        haze[:, int(max(x - thick / 2, 0)) : int(x + thick / 2)] = dark * rng.uniform(0.9, 1.1)
    strokes(rng, haze, 0.004, 16 * unit, 88, -38)
    strokes(rng, haze, 0.003, 16 * unit, 92, 34)
    back = finish(rng, haze, 7)
    count = 26
    kinds = [
        sprites.leaf(rng, round(rng.uniform(22, 50) * unit), rng.choice([0.02, 0.06, 0.1, 0.14])) for _ in range(count)
    ]
    at, phase = rng.uniform(0, 1, (count, 2)), rng.uniform(0, math.tau, count)
    fall, spin = rng.uniform(0.13, 0.24, count), rng.uniform(-90, 90, count)
    for t in seconds(frames, fps):
        frame = window(back, (10 + 10 * t) * unit, 0, size)
        for i, one in enumerate(kinds):
            x = width * at[i, 0] + 20 * unit * math.sin(1.6 * t + phase[i])
            y = height * ((at[i, 1] + fall[i] * t) % 1.3 - 0.15)
            paste(frame, one, x, y, math.degrees(phase[i]) + spin[i] * t)
        yield frame


def aerial(seed: int, size: tuple[int, int] = SIZE, frames: int = FRAMES, fps: float = FPS) -> Iterator[Array]:
    """A flight over a patchwork of fields; the camera turns and sinks, an aeroplane crosses."""
    rng, unit, (width, height) = np.random.default_rng([seed, 10]), size[1] / 288, size
    wide, high = width * 2, height * 2
    sites = np.full((high, wide), 255, np.uint8)
    count = 90
    sites[rng.integers(0, high, count), rng.integers(0, wide, count)] = 0
    _, label = cv2.distanceTransformWithLabels(sites, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    down, across = np.mgrid[0:high, 0:wide].astype(np.float32)
    turn, hues = rng.uniform(0, math.pi, count + 2)[label], rng.choice([0.1, 0.14, 0.2, 0.27, 0.33], count + 2)[label]
    rows = 0.5 + 0.5 * np.sin((across * np.cos(turn) + down * np.sin(turn)) * math.tau / (9 * unit))
    land = np.dstack(
        [hues * 179, 95 + 50 * noise(rng, wide, high, 60), 105 + 40 * rows + 50 * noise(rng, wide, high, 40)]
    )
    fields = cv2.cvtColor(np.clip(land, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    strokes(rng, fields, 0.012, 5 * unit, 70, -42)
    strokes(rng, fields, 0.008, 5 * unit, 110, 36)
    edges = cv2.dilate((cv2.Laplacian(label.astype(np.float32), cv2.CV_32F) != 0).astype(np.uint8), np.ones((3, 3)))
    fields[edges > 0] = (188, 176, 150)
    ground = finish(rng, fields, 7)
    plane = sprites.aeroplane(round(74 * unit))
    shade = shadow(plane, 0.6)
    for t in seconds(frames, fps):
        frame = window(ground, (0.4 * width + 16 * t * unit), 0.4 * height - 9 * t * unit, size, 1 + 0.05 * t, 4 * t)
        way = 1.15 - 0.2 * t % 1.4
        x, y = width * way, height * (0.35 + 0.35 * (1 - way))
        paste(frame, shade, x + 16 * unit, y + 24 * unit, 20, 0.9)
        paste(frame, plane, x, y, 20)
        yield frame
