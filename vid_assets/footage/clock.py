"""When each frame is shown, where the container does not say. Belongs here: clocks for raw streams and for AVI.

A raw stream (.h264, .hevc, .m2v, .mjpeg, ...) holds no times: its frames follow one another at the rate that the
stream states, or at 25 a second where it states none, which is what every player does. AVI numbers its packets in the
order of decoding; frames leave the decoder in the order of showing, so the n-th frame has the n-th smallest number.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

#: H.264 and HEVC reorder over at most 16 frames.
_REORDERED = 17
_AVFMT_NOTIMESTAMPS = 0x80


def is_raw(container: InputContainer) -> bool:
    """Whether the file is a bare stream, without any times."""
    return bool(container.format.flags & _AVFMT_NOTIMESTAMPS)


def has_times(container: InputContainer, stream: av.VideoStream) -> bool:
    """Whether the file itself says when each frame is shown; where not, `on_clock` has to see all of them."""
    return not is_raw(container) and not _in_decoding_order(container, stream)


def _in_decoding_order(container: InputContainer, stream: av.VideoStream) -> bool:
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def raw_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second of a raw stream: what its header states, or libav's 25."""
    return stream.codec_context.framerate or stream.average_rate or Fraction(25)


def on_clock(
    frames: Iterable[av.VideoFrame], container: InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """`frames` of a stream from its beginning, with the times at which they are shown."""
    if is_raw(container):
        return _counted(frames, raw_rate(stream))
    if _in_decoding_order(container, stream):
        return _sorted(frames)
    return iter(frames)


def _counted(frames: Iterable[av.VideoFrame], rate: Fraction) -> Iterator[av.VideoFrame]:
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, 1 / rate
        yield frame


def _sorted(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    waiting: deque[av.VideoFrame] = deque()
    stamps: list[int] = []
    for frame in frames:
        waiting.append(frame)
        if frame.pts is not None:
            heapq.heappush(stamps, frame.pts)
        if len(waiting) > _REORDERED:
            yield _stamped(waiting.popleft(), stamps)
    while waiting:
        yield _stamped(waiting.popleft(), stamps)


def _stamped(frame: av.VideoFrame, stamps: list[int]) -> av.VideoFrame:
    frame.pts = heapq.heappop(stamps) if stamps else None
    return frame
