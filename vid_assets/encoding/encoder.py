"""The encoder backend `local`: decode windows, encode them in batches of one shape, give a row for each.

A window that cannot be decoded or encoded becomes a failed row with the reason; the others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from vid_assets.encoding.content_key import LatentParts
from vid_assets.encoding.transform import fit_frames
from vid_assets.encoding.windows import Window
from vid_assets.footage.decode import DecodeError, Route, read_frames, read_image
from vid_assets.footage.opening import opened, refuse_changed


@dataclass(frozen=True)
class Task:
    """One latent to make: its key's parts, its window, and where its frames come from."""

    parts: LatentParts
    window: Window
    source: Mapping[str, Any]
    video: Mapping[str, Any]
    timestamps: Sequence[float]
    route: Route
    crop: tuple[int, int, int, int] | None


class LocalEncoder:
    """Makes latents in this process with one VAE, loaded when the first batch is encoded.

    `load` gives the VAE; `encode` takes it with uint8 frames (B, F, H, W, 3) and gives float32 moments
    (B, 2C, f, h, w), mean first.
    """

    def __init__(self, load: Any, encode: Any, posterior: str, batch_size: int) -> None:
        self._load, self._encode = load, encode
        self._posterior, self._batch_size = posterior, batch_size
        self._vae: Any = None

    def rows(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """A row of `latents` for each task, in the order in which they are finished."""
        waiting: dict[tuple[int, ...], list[tuple[Task, np.ndarray]]] = {}
        for task, frames in _decoded(tasks):
            if isinstance(frames, str):
                yield _failed(task.parts, frames)
                continue
            batch = waiting.setdefault(frames.shape, [])
            batch.append((task, frames))
            if len(batch) >= self._batch_size:
                yield from self._batch(waiting.pop(frames.shape))
        for batch in waiting.values():
            yield from self._batch(batch)

    def _batch(self, batch: list[tuple[Task, np.ndarray]]) -> Iterator[dict[str, Any]]:
        if self._vae is None:
            self._vae = self._load()
        try:
            moments = self._encode(self._vae, np.stack([frames for _, frames in batch]))
        except (RuntimeError, ValueError) as error:
            if len(batch) > 1:  # one clip may be at fault, or the batch too large for memory: each alone
                for item in batch:
                    yield from self._batch([item])
                return
            yield _failed(batch[0][0].parts, f"the VAE failed: {_one_line(error)}")
            return
        for (task, _), latent in zip(batch, moments, strict=True):
            yield self._row(task.parts, latent)

    def _row(self, parts: LatentParts, moments: np.ndarray) -> dict[str, Any]:
        if not np.isfinite(moments).all():
            share = float(np.mean(~np.isfinite(moments)))
            return _failed(parts, f"the VAE gave values that are not finite ({share:.1%} of the latent)")
        kept = moments if self._posterior == "moments" else moments[: len(moments) // 2]
        payload = np.ascontiguousarray(kept, dtype="<f4").tobytes()
        return {
            "sample_id": parts.sample_id,
            **asdict(parts),
            "dtype": "float32",
            "shape": list(kept.shape),
            "checksum": hashlib.sha256(payload).hexdigest(),
            "status": "ok",
            "error": None,
            "latent": payload,
        }


def _failed(parts: LatentParts, error: str) -> dict[str, Any]:
    return {"sample_id": parts.sample_id, **asdict(parts), "status": "failed", "error": error, "latent": None}


def _decoded(tasks: Iterable[Task]) -> Iterator[tuple[Task, np.ndarray | str]]:
    """Each task with its frames (F, H, W, 3) uint8 in the size of its bucket, or the reason why it has none."""
    ordered = sorted(tasks, key=lambda task: (task.source["uri"], task.window.start_s, task.window.bucket.name))
    for uri, group in groupby(ordered, key=lambda task: task.source["uri"]):
        left = list(group)
        try:
            with opened(left[0].source) as path:
                while left:
                    frames = _frames(path, left[0])
                    refuse_changed(left[0].source)  # before a latent of other content could be stored under this name
                    yield left.pop(0), frames
        except OSError as error:
            for task in left:
                yield task, f"{uri} cannot be read: {_one_line(error)}"


def _frames(path: str, task: Task) -> np.ndarray | str:
    bucket = task.window.bucket
    try:
        if task.video["kind"] == "image":
            frames = read_image(path)[None]
        else:
            frames = read_frames(path, task.video, task.window.times_s, task.route, timestamps=task.timestamps)
    except DecodeError as error:
        return f"cannot be decoded: {_one_line(error)}"
    return fit_frames(frames, bucket.height, bucket.width, task.crop)


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300]
