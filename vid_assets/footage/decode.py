"""Chosen frames of a source, upright, by time. Belongs here: serving frames, by decord where the proof allows it.

The pass over a whole stream is in `reader`, stills are in `stills`; what callers need of both can be had from here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from vid_assets.footage.clock import has_times, on_clock
from vid_assets.footage.geometry import displayed, square_size
from vid_assets.footage.reader import (
    DecodedFrame,
    DecodeError,
    VideoReader,
    demux,
    frame_times,
    open_container,
)
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
    "frames_on_screen",
    "read_frames",
    "read_image",
]

Route = Literal["decord", "pyav"]

#: Frame on screen at time t: the last with a timestamp of at most t + this. Two roundings to the milliseconds of a
#: Matroska clock may add up, that of the frame and that of a window's first frame, from which t is counted.
TIME_TOLERANCE_S = 0.0011
#: Two times this close are of one frame.
_SAME_FRAME_S = 0.00025

#: A target further away than this is looked for by seeking rather than by decoding on.
_SEEK_AHEAD_S = 4.0

_DECORD_CODECS = {"h264", "hevc", "vp9"}
_DECORD_PIX_FMTS = {"yuv420p", "yuvj420p"}


def decoder_route(video: Mapping[str, Any], proof_ok: bool) -> Route:
    """Which decoder serves the frames of a source; `video` is its row of the table `videos`.

    decord returns damaged frames without a word, so it is used only where the proof is clean, and only for what it
    is known to read: H.264, HEVC and VP9 in 8-bit 4:2:0, in MP4 and Matroska (in AVI it shows other frames than those
    asked for), turned only by the header of an MP4, never mirrored.
    """
    container = video["container"].split(",")
    readable = video["codec"] in _DECORD_CODECS and video["pix_fmt"] in _DECORD_PIX_FMTS
    upright = not video["is_mirrored"] and (not video["rotation"] or "mp4" in container)
    known = "mp4" in container or "matroska" in container
    return "decord" if proof_ok and readable and known and upright else "pyav"


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
    """The frames on screen at `times_s`: (N, H, W, 3) uint8 RGB, in the order of `times_s`.

    Pictures are upright, not mirrored and have square pixels: `height` x `width` of `video`, which is a row of the
    table `videos` or `vars(probe)`. On screen at t is the last frame with a timestamp of at most t +
    `TIME_TOLERANCE_S`. `timestamps` are the times of all frames, ascending, as the proof found them; without them the
    file is decoded once to find them. Both routes give the same picture.
    Raises `DecodeError` when a time lies before the first frame, or a frame cannot be decoded.
    """
    path = os.fspath(path)
    times = np.asarray(frame_times(path, video["stream_index"]) if timestamps is None else timestamps, dtype=np.float64)
    wanted = frames_on_screen(times, times_s)
    if len(wanted) and wanted.min() < 0:
        first = f"the first frame is at {times[0]:.3f} s" if len(times) else "no frame can be decoded"
        raise DecodeError(path, f"nothing is on screen at {min(times_s):.3f} s; {first}")
    if not len(wanted):
        return np.zeros((0, video["height"], video["width"], 3), np.uint8)
    indices, inverse = np.unique(wanted, return_inverse=True)
    if route == "decord":
        images = _read_decord(path, video, indices, times)
    elif route == "pyav":
        images = _read_pyav(path, video, times[indices])
    else:
        raise ValueError(f"route must be 'decord' or 'pyav', got {route!r}")
    return images[inverse]


def frames_on_screen(times: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """Number of the frame that is on screen at each moment (seconds): the last of `times` (ascending) that is not
    later, but for `TIME_TOLERANCE_S`; -1 before the first."""
    return np.searchsorted(times, np.asarray(moments_s, dtype=np.float64) + TIME_TOLERANCE_S, side="right") - 1


def _read_decord(path: str, video: Mapping[str, Any], indices: np.ndarray, times: np.ndarray) -> np.ndarray:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(path, num_threads=0)
        if len(reader) != len(times):
            raise DecodeError(path, f"decord finds {len(reader)} frames where the proof has {len(times)}; use PyAV")
        images = reader.get_batch(indices.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise DecodeError(path, f"decord cannot read it: {str(error).splitlines()[0]}") from None
    shape = images.shape[1:3]
    if (square := _square(shape, video)) != (video["height"], video["width"]):
        shown, said = f"{square[1]}x{square[0]}", f"{video['width']}x{video['height']}"
        raise DecodeError(path, f"decord shows {shown} pixels where the header says {said}; use PyAV")
    if shape == square:
        return images
    return np.stack([displayed(image, 0, False, video["width"], video["height"]) for image in images])


def _square(shape: tuple[int, int], video: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that a picture of `shape`, already turned, has with square pixels."""
    turned = bool(video["rotation"] % 180)
    stored = shape if turned else shape[::-1]
    size = square_size(*stored, video["sample_aspect"])
    return size if turned else size[::-1]


def _read_pyav(path: str, video: Mapping[str, Any], targets: np.ndarray) -> np.ndarray:
    """The frames whose presentation times are `targets` (ascending), found by seeking where the file has times."""
    import av

    images = []
    turn = (video["rotation"], bool(video["is_mirrored"]), video["width"], video["height"])
    try:
        with contextlib.ExitStack() as stack:
            container, stream = _opened(stack, path, video["stream_index"])
            seekable = has_times(container, stream)
            frames = iter(()) if seekable else on_clock(_decoded(container, stream), container, stream)
            now = -np.inf
            for target in targets.tolist():
                near = not seekable or target - now <= _SEEK_AHEAD_S
                found = _forward(frames, target, trust=not seekable) if near else None
                # Frames that refer to what lies before a keyframe come out wrong, or not at all, after a seek
                # straight to it: then start earlier, in the end from the beginning, where damage is the file's own.
                for back in (0.0, 10.0, np.inf) if seekable else ():
                    if found is not None:
                        break
                    if np.isinf(back):  # by a seek, the first keyframe of a transport stream may not be found
                        container, stream = _opened(stack, path, video["stream_index"])
                    else:
                        _seek(container, stream, target - back)
                    frames = _decoded(container, stream)
                    found = _forward(frames, target, trust=np.isinf(back))
                if found is None:
                    raise DecodeError(path, f"the frame at {target:.3f} s cannot be decoded")
                now = target
                image = found.to_ndarray(format="rgb24")
                images.append(displayed(image, *turn))
    except av.FFmpegError as error:
        raise DecodeError(path, f"cannot be decoded: {error.strerror or error}") from None
    if len({image.shape for image in images}) > 1:
        raise DecodeError(path, "the picture size changes within the file")
    return np.stack(images)


def _opened(stack: contextlib.ExitStack, path: str, stream_index: int) -> tuple[InputContainer, av.VideoStream]:
    container = stack.enter_context(open_container(path))
    stream = cast("av.VideoStream", container.streams[stream_index])
    stream.thread_type = "AUTO"
    return container, stream


def _seek(container: InputContainer, stream: av.VideoStream, time_s: float) -> None:
    """Go to the keyframe at or before `time_s`."""
    offset = max(stream.start_time or 0, int(time_s / (stream.time_base or 1)))
    container.seek(offset, stream=stream, backward=True)


def _decoded(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames from where the container stands; damaged packets are passed over."""
    import av

    for packet in demux(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _forward(frames: Iterator[av.VideoFrame], target: float, trust: bool = False) -> av.VideoFrame | None:
    """The frame at `target` seconds, or None if the iterator passes it, ends, or gives it damaged (unless `trust`)."""
    for frame in frames:
        if frame.time is None or frame.time < target - _SAME_FRAME_S:
            continue
        hit = abs(frame.time - target) < _SAME_FRAME_S and (trust or not frame.is_corrupt)
        return frame if hit else None
    return None
