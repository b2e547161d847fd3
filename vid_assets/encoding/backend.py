"""The encoding backends: windows in, rows of `latents` out, a batch at a time. Belongs here: the interface and `local`.

A window that cannot be decoded or encoded becomes a failed row with the reason; the others go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np

from model.errors import first_line, is_out_of_memory
from vid_assets.encoding.frames import Task, by_source, decoded
from vid_assets.encoding.rows import failed_row, latent_row
from vid_assets.encoding.threads import in_threads

Row = dict[str, Any]
Encode = Callable[[np.ndarray], np.ndarray]


class Backend(Protocol):
    """A backend. None of them changes a key, nor a value by more than 1e-4."""

    def batches(self, tasks: Sequence[Task]) -> Generator[list[Row], None, None]:
        """A row for each task, in lists of those that are finished together, in any order."""


class LocalBackend:
    """Makes latents in this process with one VAE, while threads decode what comes next.

    Args:
        encode: uint8 frames (B, F, H, W, 3) to float32 moments (B, 2C, f, h, w); loads its VAE when first called.
        batch_size: windows of one shape that are encoded at a time.
        decoders: sources that are decoded at a time; None takes half of the cores, at least 1 and at most 8.

    So many windows are held at most: one batch of each bucket that is being collected, another `batch_size` decoded
    ahead, and what `encoding.frames` says for each source that is being read.
    """

    def __init__(self, encode: Encode, batch_size: int, decoders: int | None = None) -> None:
        self._encode, self._batch_size = encode, batch_size
        self._decoders = decoders or min(8, max(1, (os.cpu_count() or 1) // 2))
        self._alone: set[tuple[int, ...]] = set()

    def batches(self, tasks: Sequence[Task]) -> Generator[list[Row], None, None]:
        """See `Backend`."""
        collected: dict[tuple[int, ...], list[tuple[Task, np.ndarray]]] = {}
        sources = by_source(tasks)
        ahead = in_threads(map(decoded, sources), min(self._decoders, len(sources)), room=self._batch_size)
        with closing(ahead):
            for task, frames in ahead:
                if isinstance(frames, str):
                    yield [failed_row(task.parts, frames)]
                    continue
                batch = collected.setdefault(frames.shape, [])
                batch.append((task, frames))
                if len(batch) >= self._batch_size:
                    yield self._rows(collected.pop(frames.shape))
        for batch in collected.values():
            yield self._rows(batch)

    def _rows(self, batch: list[tuple[Task, np.ndarray]]) -> list[Row]:
        shape = batch[0][1].shape
        if len(batch) > 1 and shape in self._alone:
            return [row for item in batch for row in self._rows([item])]
        try:
            moments = self._encode(np.stack([frames for _, frames in batch]))
        except (RuntimeError, ValueError, MemoryError) as error:
            no_memory = is_out_of_memory(error)
            reason = first_line(error)
        else:
            return [latent_row(task.parts, latent) for (task, _), latent in zip(batch, moments, strict=True)]
        # Outside the handler, as the error's traceback keeps the tensors of what failed
        if no_memory:
            _give_back_memory()
        if len(batch) > 1:  # the batch may be too large, or one window at fault: each alone
            if no_memory:
                self._alone.add(shape)
            return [row for item in batch for row in self._rows([item])]
        if no_memory:
            reason = f"out of memory, alone too ({reason}); a smaller bucket or vae.tiling takes less"
        return [failed_row(batch[0][0].parts, f"the VAE failed: {reason}")]


def _give_back_memory() -> None:
    """Let torch return what it holds and does not use, so that the next try has it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
