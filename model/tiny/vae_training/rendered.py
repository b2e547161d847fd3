"""Rendered footage of many kinds: textures at every scale, flat shapes, lettering and stripes, under a moving camera.

It teaches edges, gradients, fine texture and motion in every direction that a few real files do not have.
"""

from __future__ import annotations

import numpy as np

from model.tiny.vae_training.footage import FRAMES, Clip

_CANVAS = 448
_SIZE = 224


def rendered_clips(count: int, seed: int) -> list[Clip]:
    """`count` clips (17, 224, 224, 3): a picture seen by a camera that pans, zooms and turns, with things that move."""
    rng = np.random.default_rng(seed)
    return [Clip(f"rendered-{index}", _clip(rng)) for index in range(count)]


def _clip(rng: np.random.Generator) -> np.ndarray:
    import cv2

    background, layers = _picture(rng), [_layer(rng) for _ in range(rng.integers(0, 4))]
    camera, paths = _path(rng, 1.0), [_path(rng, 2.0) for _ in layers]
    light = 1 + rng.normal(0, 0.1) * np.linspace(-1, 1, FRAMES) * (rng.random() < 0.3)
    noise = abs(rng.normal(0, 2.5)) * (rng.random() < 0.5)
    frames = []
    for index in range(FRAMES):
        frame = _seen(background, camera[index], cv2.BORDER_REFLECT)
        for (picture, alpha), path in zip(layers, paths):
            opaque = _seen(alpha, path[index], cv2.BORDER_CONSTANT)[..., None]
            frame = frame * (1 - opaque) + _seen(picture, path[index], cv2.BORDER_REFLECT) * opaque
        frame = frame * light[index] + (rng.normal(0, noise, frame.shape) if noise else 0)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return np.stack(frames)


def _path(rng: np.random.Generator, speed: float) -> np.ndarray:
    """An affine map (2, 3) for each frame, from the seen picture to the canvas; often at rest."""
    move = rng.normal(0, 3 * speed, 2) * (rng.random() < 0.75)
    turn, zoom = rng.normal(0, 0.01) * (rng.random() < 0.4), rng.normal(0, 0.008) * (rng.random() < 0.4)
    first_turn, first_zoom = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
    maps = []
    for index in range(FRAMES):
        angle, scale = first_turn + turn * index, np.exp(first_zoom + zoom * index)
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = _CANVAS / 2 + move * (index - FRAMES // 2) - matrix @ np.full(2, _SIZE / 2)
        maps.append(np.hstack([matrix, shift[:, None]]))
    return np.stack(maps)


def _seen(picture: np.ndarray, affine: np.ndarray, border: int) -> np.ndarray:
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, affine, (_SIZE, _SIZE), flags=flags, borderMode=border)


def _picture(rng: np.random.Generator) -> np.ndarray:
    """A canvas (448, 448, 3) float32, 0 to 255."""
    texture = _texture(rng, slope=rng.uniform(0.8, 2.2)) * rng.uniform(5, 70)
    canvas = np.ascontiguousarray(np.clip(texture + _colour(rng), 0, 255).astype(np.uint8))
    for _ in range(int(rng.integers(0, 40)) if rng.random() < 0.6 else 0):
        _draw(canvas, rng)
    return canvas.astype(np.float32)


def _layer(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its opacity (448, 448), 0 to 1: a blob or a polygon with a soft or a hard edge."""
    import cv2

    alpha = np.zeros((_CANVAS, _CANVAS), np.float32)
    centre, radius = rng.uniform(120, _CANVAS - 120, 2), rng.uniform(15, 90)
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 12))))
    corners = centre + (radius * rng.uniform(0.5, 1.2, len(angles)) * np.array([np.cos(angles), np.sin(angles)])).T
    cv2.fillPoly(alpha, [corners.astype(np.int32)], 1.0, cv2.LINE_AA)
    return _picture(rng), cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.3, 3))


def _texture(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise (448, 448, 3) of unit deviation whose amplitude falls with frequency to the power `slope`, as in nature."""
    fy, fx = np.fft.fftfreq(_CANVAS)[:, None], np.fft.rfftfreq(_CANVAS)[None]
    stretch = np.exp(rng.normal(0, 0.5))
    amplitude = 1 / np.maximum(np.hypot(fx * stretch, fy / stretch), 1 / _CANVAS) ** slope
    spectrum = np.fft.rfft2(rng.normal(size=(3, _CANVAS, _CANVAS))) * amplitude
    channels = np.fft.irfft2(spectrum, (_CANVAS, _CANVAS))
    channels /= channels.std(axis=(1, 2), keepdims=True)
    colourful = rng.uniform(0, 0.3)
    mixed = (1 - colourful) * channels[:1] + colourful * channels
    return (mixed / mixed.std()).transpose(1, 2, 0)


def _colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(20, 235) + rng.normal(0, 20, 3)


def _draw(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """One flat thing: a disc, a box, a line, a row of stripes or a word."""
    import cv2

    colour, (x, y) = tuple(np.clip(_colour(rng), 0, 255).tolist()), (int(v) for v in rng.integers(0, _CANVAS, 2))
    size, kind = int(np.exp(rng.uniform(1.0, 4.3))), rng.integers(5)
    if kind == 0:
        cv2.circle(canvas, (x, y), size, colour, -1 if rng.random() < 0.7 else 2, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(canvas, (x, y), (x + size, y + int(size * rng.uniform(0.2, 2))), colour, -1)
    elif kind == 2:
        end = (x + int(rng.normal(0, 80)), y + int(rng.normal(0, 80)))
        cv2.line(canvas, (x, y), end, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    elif kind == 3:
        for index in range(8):
            cv2.line(canvas, (x + index * size // 3, y), (x + index * size // 3, y + size * 2), colour, 1 + size // 12)
    else:
        word = "".join(chr(int(code)) for code in rng.integers(33, 123, int(rng.integers(2, 9))))
        cv2.putText(canvas, word, (x, y), int(rng.integers(0, 8)), rng.uniform(0.3, 1.6), colour, 1, cv2.LINE_AA)
