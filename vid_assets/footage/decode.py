"""Chosen frames of a source, upright, by time. Belongs here: serving frames, by decord where the proof allows it.

The pass over a whole stream is in `reader`, stills are in `stills`; what callers need of both can be had from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from vid_assets.footage.reader import (
    DecodedFrame,
    DecodeError,
    VideoReader,
    demux,
    frame_times,
    iter_frames,
    open_container,
)
from vid_assets.footage.rotation import upright
from vid_assets.footage.stills import read_image

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

__all__ = [
    "DecodeError",
    "DecodedFrame",
    "VideoReader",
    "decoder_route",
    "decoder_version",
    "frame_times",
    "iter_frames",
    "read_frames",
    "read_image",
]

Route = Literal["decord", "pyav"]

#: Frame on screen at time t: the last with a timestamp of at most t + this (half a millisecond).
TIME_TOLERANCE_S = 0.0005

#: A target further away than this is looked for by seeking rather than by decoding on.
_SEEK_AHEAD_S = 4.0

_DECORD_CODECS = {"h264", "hevc", "vp9"}
_DECORD_PIX_FMTS = {"yuv420p", "yuvj420p"}


def decoder_route(codec: str | None, pix_fmt: str | None, proof_ok: bool) -> Route:
    """Which decoder serves the frames of a source.

    decord returns damaged frames without a word, so it is used only where the proof is clean, and only for what it
    is known to read: H.264, HEVC and VP9 in 8-bit 4:2:0.
    """
    return "decord" if proof_ok and codec in _DECORD_CODECS and pix_fmt in _DECORD_PIX_FMTS else "pyav"


def decoder_version(route: Route) -> str:
    """Name and version of the decoder behind `route`; frames may differ between versions."""
    if route == "decord":
        import decord

        return f"decord {decord.__version__}"
    import av

    return f"pyav {av.__version__} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


def read_frames(
    path: str,
    video: Mapping[str, Any],
    times_s: Sequence[float],
    route: Route,
    timestamps: Sequence[float] | None = None,
) -> np.ndarray:
    """The frames on screen at `times_s`: (N, H, W, 3) uint8 RGB, upright, in the order of `times_s`.

    On screen at t is the last frame with a timestamp of at most t + 0.5 ms. `video` gives `stream_index` and
    `rotation` (a row of the table `videos`, or `vars(probe)`). `timestamps` are the times of all frames, ascending,
    as the proof found them; without them the file is decoded once to find them. Both routes give the same picture.
    Raises `DecodeError` when a time lies before the first frame, or a frame cannot be decoded.
    """
    path = os.fspath(path)
    times = np.asarray(frame_times(path, video["stream_index"]) if timestamps is None else timestamps, dtype=np.float64)
    wanted = np.searchsorted(times, np.asarray(times_s, dtype=np.float64) + TIME_TOLERANCE_S, side="right") - 1
    if len(wanted) and wanted.min() < 0:
        first = f"the first frame is at {times[0]:.3f} s" if len(times) else "no frame can be decoded"
        raise DecodeError(path, f"nothing is on screen at {min(times_s):.3f} s; {first}")
    if not len(wanted):
        return np.zeros((0, video["height"], video["width"], 3), np.uint8)
    indices, inverse = np.unique(wanted, return_inverse=True)
    if route == "decord":
        images = _read_decord(path, indices, times, (video["height"], video["width"]))
    elif route == "pyav":
        images = _read_pyav(path, video["stream_index"], video["rotation"] or 0, times[indices])
    else:
        raise ValueError(f"route must be 'decord' or 'pyav', got {route!r}")
    return images[inverse]


def _read_decord(path: str, indices: np.ndarray, times: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(path, num_threads=0)
        if len(reader) != len(times):
            raise DecodeError(path, f"decord finds {len(reader)} frames where the proof has {len(times)}; use PyAV")
        images = reader.get_batch(indices.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise DecodeError(path, f"decord cannot read it: {str(error).splitlines()[0]}") from None
    if images.shape[1:3] != size:
        found = f"{images.shape[2]}x{images.shape[1]}"
        raise DecodeError(path, f"decord shows {found} pixels where the header says {size[1]}x{size[0]}; use PyAV")
    return images


def _read_pyav(path: str, stream_index: int, rotation: int, targets: np.ndarray) -> np.ndarray:
    """The frames whose presentation times are `targets` (ascending), found by seeking."""
    import av

    images = []
    try:
        with open_container(path) as container:
            stream = cast("av.VideoStream", container.streams[stream_index])
            stream.thread_type = "AUTO"
            frames: Iterator[av.VideoFrame] = iter(())
            now = -np.inf
            for target in targets.tolist():
                found = _forward(frames, target) if target - now <= _SEEK_AHEAD_S else None
                # Frames that refer to what lies before a keyframe come out wrong, or not at all, after a seek
                # straight to it: then start earlier, in the end from the beginning, where damage is the file's own.
                for back in (0.0, 10.0, np.inf):
                    if found is not None:
                        break
                    frames = _frames_from(container, stream, target - back)
                    found = _forward(frames, target, trust=back == np.inf)
                if found is None:
                    raise DecodeError(path, f"the frame at {target:.3f} s cannot be decoded")
                now = target
                images.append(upright(found.to_ndarray(format="rgb24"), rotation))
    except av.FFmpegError as error:
        raise DecodeError(path, f"cannot be decoded: {error.strerror or error}") from None
    if len({image.shape for image in images}) > 1:
        raise DecodeError(path, "the picture size changes within the file")
    return np.stack(images)


def _frames_from(container: InputContainer, stream: av.VideoStream, time_s: float) -> Iterator[av.VideoFrame]:
    """Frames from the keyframe at or before `time_s` on; damaged packets are passed over."""
    import av

    start = stream.start_time or 0
    offset = start if np.isinf(time_s) else max(start, int(time_s / (stream.time_base or 1)))
    container.seek(offset, stream=stream, backward=True)
    for packet in demux(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _forward(frames: Iterator[av.VideoFrame], target: float, trust: bool = False) -> av.VideoFrame | None:
    """The frame at `target` seconds, or None if the iterator passes it, ends, or gives it damaged (unless `trust`)."""
    for frame in frames:
        if frame.time is None or frame.time < target - TIME_TOLERANCE_S / 2:
            continue
        hit = abs(frame.time - target) < TIME_TOLERANCE_S / 2 and (trust or not frame.is_corrupt)
        return frame if hit else None
    return None
