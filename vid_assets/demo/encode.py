"""Frames into files: videos in several containers and codecs, stills, and files that are broken on purpose.

Equal frames give equal bytes on one machine: no dates, no random identifiers, a fixed number of encoder threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

_ENCODERS = {
    # Without mbtree: its AVX-512 code makes x264 give other bytes each time for some picture sizes.
    "h264": ("libx264", {"preset": "superfast", "x264-params": "mbtree=0"}),
    "hevc": ("libx265", {"preset": "veryfast", "x265-params": "log-level=error"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "0", "row-mt": "0"}),
}


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float = 24,
    codec: str = "h264",
    crf: int = 23,
    keyframe_every: int = 48,
) -> int:
    """Encode uint8 RGB frames (H, W, 3) of one even size as 8-bit 4:2:0; the suffix chooses the container.

    Returns the number of frames written. Raises `ValueError` for an unknown codec, an odd size or no frames at all.
    """
    if codec not in _ENCODERS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(_ENCODERS)}")
    encoder, settings = _ENCODERS[codec]
    options = {"fflags": "+bitexact"}
    if Path(path).suffix in (".mp4", ".mov"):
        options["movflags"] = "+faststart"  # the index first, so that a truncated file still opens
    count = 0
    with av.open(str(path), "w", options=options) as container:
        stream: VideoStream = container.add_stream(  # type: ignore[assignment]
            encoder, rate=Fraction(fps).limit_denominator(1001), options={
            **settings, "crf": str(crf), "g": str(keyframe_every), "flags": "+bitexact"})  # fmt: skip
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 2
        for image in frames:
            height, width = image.shape[:2]
            if count == 0:
                if height % 2 or width % 2:
                    raise ValueError(f"{width}x{height}: 4:2:0 video needs an even width and height")
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
        if count == 0:
            raise ValueError(f"{path}: no frames to write")
        container.mux(stream.encode(None))
    return count


def write_still(path: str | Path, image: np.ndarray) -> None:
    """Save one uint8 RGB image; the suffix (.jpg, .png, .webp) chooses the format."""
    Image.fromarray(image).save(path, quality=92)  # a PNG has no quality and ignores it


def truncate(path: str | Path, share: float) -> None:
    """Keep only the first `share` of the file's bytes, as an interrupted copy does."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * share)])


def damage(path: str | Path, start: float = 0.45, end: float = 0.6) -> None:
    """Overwrite the bytes between `start` and `end` (shares of the file's size) with zeros, as bad sectors do.

    Decoders conceal a hole within one frame without a word; one over several frames makes them report errors.
    """
    data = bytearray(Path(path).read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = bytes(last - first)
    Path(path).write_bytes(bytes(data))
