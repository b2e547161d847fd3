"""The best linear code of the same rate, to measure the tiny VAE against: PCA of 4x8x8 pixel blocks to 16 numbers.

As in the VAE, the first frame has its own 16 numbers for each 8x8 block, and so has a still: by a basis of its own, or
by the basis of 4x8x8 blocks, for which it is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.tiny.vae_training.footage import Clip

NUMBERS = 16
_BLOCKS_PER_CLIP = 4000


@dataclass(frozen=True)
class LinearCode:
    """Mean and orthonormal basis (values of a block, 16) of blocks of one frame and of four."""

    one: tuple[np.ndarray, np.ndarray]
    four: tuple[np.ndarray, np.ndarray]

    @classmethod
    def fit(cls, clips: Sequence[Clip], seed: int = 0) -> LinearCode:
        """The principal components of the blocks of `clips`, equally many of each clip."""
        rng = np.random.default_rng(seed)
        return cls(_principal(clips, 1, rng), _principal([clip for clip in clips if len(clip.frames) > 1], 4, rng))

    def reconstruct(self, frames: np.ndarray, one_basis: bool = False) -> np.ndarray:
        """Frames (F, H, W, 3), F = 4k+1, coded and decoded: uint8, rounded and clipped as a decoded video is."""
        repeated = np.repeat(frames[:1], 4, axis=0)
        parts = [_coded(repeated, 4, *self.four)[:1] if one_basis else _coded(frames[:1], 1, *self.one)]
        if len(frames) > 1:
            parts.append(_coded(frames[1:], 4, *self.four))
        return np.concatenate(parts)


def psnr(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Peak signal-to-noise ratio in dB (peak 255) of uint8 pictures, over all pairs; infinite where they are equal."""
    error = float(np.mean([np.mean((one.astype(np.float32) - other) ** 2) for one, other in pairs]))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _blocks(frames: np.ndarray, depth: int) -> np.ndarray:
    """Blocks (N, depth * 8 * 8 * 3) of frames; what does not fill a block is left away."""
    count, height, width = len(frames) // depth, frames.shape[1] // 8, frames.shape[2] // 8
    whole = frames[: count * depth, : height * 8, : width * 8]
    split = whole.reshape(count, depth, height, 8, width, 8, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return split.reshape(-1, depth * 192).astype(np.float32)


def _principal(clips: Sequence[Clip], depth: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    blocks = []
    for clip in clips:
        every = _blocks(clip.frames[1:] if depth > 1 else clip.frames[:1], depth)
        blocks.append(every[rng.permutation(len(every))[:_BLOCKS_PER_CLIP]])
    values = np.concatenate(blocks)
    mean = values.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((values - mean).T.astype(np.float64)))
    return mean, vectors[:, ::-1][:, :NUMBERS].astype(np.float32)


def _coded(frames: np.ndarray, depth: int, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    count, height, width = len(frames) // depth, frames.shape[1] // 8, frames.shape[2] // 8
    values = (_blocks(frames, depth) - mean) @ basis @ basis.T + mean
    split = values.reshape(count, height, width, depth, 8, 8, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    return np.clip(np.round(split.reshape(frames.shape)), 0, 255).astype(np.uint8)
