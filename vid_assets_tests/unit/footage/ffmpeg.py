"""The command `ffmpeg`: it renders files as others write them, and judges what frames are shown when."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the command ffmpeg is not installed")


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run it; a failure shows what it said."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    if data is not None:
        command.remove("-nostdin")
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done


def render(path: Path, frames: Sequence[np.ndarray], *options: str, rate: str = "24") -> Path:
    """Encode RGB pictures, (H, W, 3) uint8 each, with options of ffmpeg."""
    height, width = frames[0].shape[:2]
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "-")
    ffmpeg("-loglevel", "error", *source, "-pix_fmt", "yuv420p", *options, path, data=np.stack(frames).tobytes())
    return path


def shown(path: Path, width: int, height: int, *filters: str) -> tuple[np.ndarray, np.ndarray]:
    """Every frame that ffmpeg shows, upright, (N, height, width, 3), and when, (N,), in seconds on the file's clock."""
    chain = ",".join([*filters, f"scale={width}:{height}:flags=accurate_rnd+full_chroma_int", "showinfo"])
    output = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    done = ffmpeg("-copyts", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", chain, *output)
    times = re.findall(rb"Parsed_showinfo.*? pts_time:\s*(\S+)", done.stderr)
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(times) == len(pictures)
    return pictures, np.array([float(time) for time in times])


def numbered(count: int, size: tuple[int, int] = (128, 96), seed: int = 0) -> list[np.ndarray]:
    """Pictures that all differ: the number of each in large dark and bright blocks, over a texture that moves."""
    width, height = size
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(0, 90, (height // 4, width // 2, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    found = []
    for number in range(count):
        picture = np.roll(texture, number, axis=1)[:height, :width].copy()
        for bit in range(8):
            row, column = divmod(bit, 4)
            block = picture[row * height // 2 :, column * width // 4 :][: height // 3, : width // 6]
            block[:] = 230 if number >> bit & 1 else 20
        found.append(picture)
    return found
