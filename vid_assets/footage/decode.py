"""Chosen frames of a source, upright, by time. Belongs here: serving frames, by decord where the proof allows it.

The pass over a whole stream is in `reader`, stills are in `stills`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from model.errors import first_line
from vid_assets.footage.clock import has_times, on_clock
from vid_assets.footage.geometry import displayed, square_size
from vid_assets.footage.reader import DecodeError, demux, open_container
from vid_assets.footage.shown import CONTEXT_S, shown, shown_by

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

#: `early` is PyAV as well, which seeks further back than it has to and decodes on from there: an audit's second look.
Route = Literal["decord", "pyav", "early"]

#: Frame on screen at time t: the last with a timestamp of at most t + this. Two roundings to the milliseconds of a
#: Matroska clock may add up, that of the frame and that of a window's first frame, from which t is counted.
TIME_TOLERANCE_S = 0.0011
#: Two times this close are of one frame.
_SAME_FRAME_S = 0.00025

#: A target further away than this is looked for by seeking rather than by decoding on.
_SEEK_AHEAD_S = 4.0

#: Seconds before a target at which PyAV begins to decode at the latest, by route.
_RUN_UP_S: Mapping[str, float] = {"pyav": 0.0, "early": 20.0}

#: Bytes of pictures that decord decodes at a time. From 32 MB on, the C library gives memory back to the system and
#: takes it anew for each batch of pictures, which costs half as much as decoding them.
_HELD_BYTES = 16 << 20

_DECORD_CODECS = {"h264", "hevc", "vp9"}
_DECORD_PIX_FMTS = {"yuv420p", "yuvj420p"}


def in_order(packets: Mapping[str, float], frames: int) -> bool:
    """Whether counting the packets of a stream in the order in which they lie finds its frames in the order of showing.

    decord counts so. It is off by the pictures that are stored after a keyframe and shown before it (open groups of
    pictures, the default of x265), and by those that are stored and not shown (edit lists, as a cut without encoding
    anew leaves them; hidden pictures of VP9).

    Args:
        packets: as of `curation.groups`, counts by name.
        frames: how many the proof has seen.
    """
    return packets["packets"] == frames and not (packets["discarded"] or packets["untimed"] or packets["misplaced"])


def decoder_route(video: Mapping[str, Any], proof_ok: bool, packets_in_order: bool) -> Route:
    """Which decoder serves the frames of a source; `video` is its row of the table `videos`.

    decord returns damaged frames without a word, so it is used only where the proof is clean, its packets are
    `in_order`, and only for what it is known to read: H.264, HEVC and VP9 in 8-bit 4:2:0, in MP4 and Matroska (in AVI
    it shows other frames than those asked for), turned only by the header of an MP4, never mirrored, and shown as it is
    stored.
    """
    container = video["container"].split(",")
    readable = video["codec"] in _DECORD_CODECS and video["pix_fmt"] in _DECORD_PIX_FMTS
    if shown_by(video):
        return "pyav"
    upright = not video["is_mirrored"] and (not video["rotation"] or "mp4" in container)
    known = "mp4" in container or "matroska" in container
    return "decord" if proof_ok and packets_in_order and readable and known and upright else "pyav"


def decoder_version(route: Route) -> str:
    """Name and version of the decoder behind `route`; frames may differ between versions."""
    if route == "decord":
        import decord

        return f"decord {decord.__version__}"
    import av

    return f"pyav {av.__version__} libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


def other_route(route: Route) -> Route:
    """A route that finds the same frames in another way, to hold them against."""
    return "pyav" if route == "decord" else "early"


def stream_frames(
    path: str, video: Mapping[str, Any], numbers: Iterable[int], times: np.ndarray, route: Route
) -> Iterator[tuple[int, np.ndarray | DecodeError]]:
    """The frames with the given `numbers` (ascending, each once), in that order, with their numbers; decoded once.

    Pictures are (H, W, 3) uint8 RGB, upright, not mirrored and of square pixels: `height` x `width` of `video`, which
    is a row of the table `videos` or `vars(probe)`. Both routes give the same picture. `times` are those of all frames,
    ascending, as the proof found them. A frame that cannot be decoded comes as its error, and the others go on.
    `numbers` is drawn from little by little, so that a caller may drop what it no longer needs; some 16 MB of pictures
    are held at a time. Raises `DecodeError` when no frame of the file can be had.
    """
    if route == "decord":
        return _stream_decord(path, video, iter(numbers), times)
    if route in _RUN_UP_S:
        return _stream_pyav(path, video, iter(numbers), times, _RUN_UP_S[route])
    raise ValueError(f"route must be one of {', '.join(get_args(Route))}, got {route!r}")


def frames_on_screen(times: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """Number of the frame that is on screen at each moment (seconds): the last of `times` (ascending) that is not
    later, but for `TIME_TOLERANCE_S`; -1 before the first."""
    return np.searchsorted(times, np.asarray(moments_s, dtype=np.float64) + TIME_TOLERANCE_S, side="right") - 1


def _stream_decord(
    path: str, video: Mapping[str, Any], numbers: Iterator[int], times: np.ndarray
) -> Iterator[tuple[int, np.ndarray | DecodeError]]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(path, num_threads=0)
    except (decord.DECORDError, RuntimeError) as error:
        raise _unreadable_by_decord(path, error) from None
    if len(reader) != len(times):
        raise DecodeError(path, f"decord finds {len(reader)} frames where the proof has {len(times)}; use PyAV")
    at_once = max(1, _HELD_BYTES // (3 * video["height"] * video["width"]))
    while chunk := list(islice(numbers, at_once)):
        try:
            images = reader.get_batch(chunk).asnumpy()
        except (decord.DECORDError, RuntimeError):
            images = [_one_of_decord(path, reader, number) for number in chunk]
        for number, image in zip(chunk, images, strict=True):
            yield number, image if isinstance(image, DecodeError) else _shown_by_decord(path, image, video)


def _one_of_decord(path: str, reader: Any, number: int) -> np.ndarray | DecodeError:
    import decord

    try:
        return reader.get_batch([number]).asnumpy()[0]
    except (decord.DECORDError, RuntimeError) as error:
        return _unreadable_by_decord(path, error)


def _unreadable_by_decord(path: str, error: Exception) -> DecodeError:
    return DecodeError(path, f"decord cannot read it: {first_line(error)}")


def _shown_by_decord(path: str, image: np.ndarray, video: Mapping[str, Any]) -> np.ndarray:
    """A picture of decord, which has turned it already, with square pixels."""
    if (square := _square(image.shape[:2], video)) != (video["height"], video["width"]):
        shown, said = f"{square[1]}x{square[0]}", f"{video['width']}x{video['height']}"
        raise DecodeError(path, f"decord shows {shown} pixels where the header says {said}; use PyAV")
    return displayed(image, 0, False, video["width"], video["height"])


def _square(shape: tuple[int, int], video: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that a picture of `shape`, already turned, has with square pixels."""
    turned = bool(video["rotation"] % 180)
    stored = shape if turned else shape[::-1]
    size = square_size(*stored, video["sample_aspect"])
    return size if turned else size[::-1]


def _stream_pyav(
    path: str, video: Mapping[str, Any], numbers: Iterator[int], times: np.ndarray, run_up_s: float
) -> Iterator[tuple[int, np.ndarray | DecodeError]]:
    turn = (video["rotation"], bool(video["is_mirrored"]), video["width"], video["height"])
    with contextlib.closing(_FramesAt(path, video, run_up_s)) as frames:
        for number in numbers:
            found = frames.at(float(times[number]))
            if isinstance(found, DecodeError):
                yield number, found
            else:
                yield number, displayed(found.to_ndarray(format="rgb24"), *turn)


class _FramesAt:
    """The frames at given times, ascending, found by decoding on or, where the file has times, by seeking."""

    def __init__(self, path: str, video: Mapping[str, Any], run_up_s: float) -> None:
        import av

        self._path, self._video, self._stream_index = path, video, video["stream_index"]
        self._run_up_s = max(run_up_s, CONTEXT_S) if video["is_interlaced"] else run_up_s
        self._stack = contextlib.ExitStack()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._now = -np.inf  # nothing was read yet, or what was read led nowhere
        try:
            self._open()
        except av.FFmpegError as error:
            raise DecodeError(path, f"cannot be decoded: {error.strerror or error}") from None
        self._seekable = has_times(self._container, self._stream)

    def close(self) -> None:
        self._stack.close()

    def at(self, target: float) -> av.VideoFrame | DecodeError:
        """The frame at `target` seconds."""
        import av

        reason = f"the frame at {target:.3f} s cannot be decoded"
        try:
            found = self._sought(target) if self._seekable else self._next(target)
        except av.FFmpegError as error:
            found, reason = None, f"cannot be decoded: {error.strerror or error}"
        self._now = -np.inf if found is None else target
        return DecodeError(self._path, reason) if found is None else found

    def _sought(self, target: float) -> av.VideoFrame | None:
        if target - self._now <= _SEEK_AHEAD_S and (found := _forward(self._frames, target)):
            return found
        # Frames that refer to what lies before a keyframe come out wrong, or not at all, after a seek
        # straight to it: then start earlier, in the end from the beginning, where damage is the file's own.
        for back in (0.0, 10.0, np.inf):
            if np.isinf(back):  # by a seek, the first keyframe of a transport stream may not be found
                self._open()
            else:
                _seek(self._container, self._stream, target - self._run_up_s - back)
            self._frames = shown(_decoded(self._container, self._stream), self._video)
            if found := _forward(self._frames, target, trust=np.isinf(back)):
                return found
        return None

    def _next(self, target: float) -> av.VideoFrame | None:
        if np.isinf(self._now):
            self._open()
            frames = on_clock(_decoded(self._container, self._stream), self._container, self._stream)
            self._frames = shown(frames, self._video)
        return _forward(self._frames, target, trust=True)

    def _open(self) -> None:
        self._stack.close()
        self._container, self._stream = _opened(self._stack, self._path, self._stream_index)


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
