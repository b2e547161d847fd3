"""Writing pictures that were generated: mp4, gif and png. Frames are uint8 RGB (F, H, W, 3)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np


def write_sequence(folder: Path, name: str, frames: np.ndarray, fps: float) -> tuple[str, str | None]:
    """Write a video as mp4 and gif, or a single frame as png; the file's name, and the gif's (None for a still)."""
    if len(frames) == 1:
        write_png(folder / f"{name}.png", frames[0])
        return f"{name}.png", None
    write_mp4(folder / f"{name}.mp4", frames, fps)
    write_gif(folder / f"{name}.gif", frames, fps)
    return f"{name}.mp4", f"{name}.gif"


def write_mp4(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """H.264 in an mp4 that browsers play (yuv420p, index first); height and width must be even."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "threads": "1"}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """An endless gif; its clock has steps of 10 ms."""
    from PIL import Image

    first, *rest = [Image.fromarray(image) for image in frames]
    first.save(str(path), save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def write_png(path: str | Path, image: np.ndarray) -> None:
    """One picture (H, W, 3)."""
    from PIL import Image

    Image.fromarray(image).save(str(path))
