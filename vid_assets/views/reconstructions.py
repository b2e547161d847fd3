"""Frames beside what their latent decodes to: how like they are, and a sheet for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vid_assets.views.sheets import Tile, contact_sheet

#: Stands for pictures that are equal, whose ratio would be infinite, dB.
PSNR_MAX = 100.0


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pictures of one shape, dB: 10 log10(255^2 / mean squared error)."""
    error = float(np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2))
    return min(PSNR_MAX, 10 * math.log10(255**2 / error)) if error else PSNR_MAX


def pair(source: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Source | reconstruction, the first frame and below it the last; both are uint8 (F, H, W, 3)."""
    chosen = sorted({0, len(source) - 1})
    return np.concatenate([np.concatenate([source[i], reconstruction[i]], axis=1) for i in chosen])


def reconstruction_sheet(pairs: Sequence[tuple[np.ndarray, Sequence[str]]], title: str) -> bytes:
    """Pictures from `pair`, each with its lines of text, as JPEG bytes."""
    tiles: list[Tile] = [(picture, lines) for picture, lines in pairs]
    return contact_sheet(tiles, min(4, max(1, len(tiles))), title, tile_width=360)
