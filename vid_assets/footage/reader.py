"""One pass over a video stream. Belongs here: reading every packet and frame once, and counting what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from vid_assets.footage.rotation import upright

if TYPE_CHECKING:
    import av
    from av.container import InputContainer


class DecodeError(ValueError):
    """A frame that was asked for cannot be decoded. The message names the file; `reason` is the same without it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass
class DecodedFrame:
    """One frame: number in presentation order, seconds on the file's clock, upright RGB (H, W, 3) uint8."""

    index: int
    time_s: float
    image: np.ndarray
    is_corrupt: bool


def open_container(path: str) -> InputContainer:
    """Open a local file with PyAV. Nothing but that file is opened, whatever a playlist inside it names."""
    import av

    return av.open(path, metadata_errors="replace", options={"protocol_whitelist": "file"})


def demux(container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of one stream, then an empty one that flushes its decoder."""
    # PyAV flushes every stream at the end, and fails there on one that began in the middle of the file
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


class VideoReader:
    """All frames of one stream in presentation order, in one pass that survives damage.

    Iterate once; afterwards `packets`, `discarded` (packets that the container says not to show), `packet_errors`
    (packets that were flagged, or that the decoder refused), `error_times` (their times in seconds, where known),
    `packet_hash` (SHA-256, hex, over the payloads of the stream's packets), `packet_sizes` (bytes by presentation
    timestamp) and `error` (the first failure, or None) hold.
    """

    def __init__(self, path: str, stream_index: int, rotation: int = 0) -> None:
        self.path = path
        self.stream_index = stream_index
        self.rotation = rotation
        self.packets = 0
        self.discarded = 0
        self.packet_errors = 0
        self.error_times: list[float] = []
        self.packet_hash: str | None = None
        self.packet_sizes: dict[int, int] = {}
        self.error: str | None = None

    def av_frames(self) -> Iterator[av.VideoFrame]:
        """The frames as libav has them: neither converted nor turned."""
        import av

        digest = hashlib.sha256()
        try:
            with open_container(self.path) as container:
                stream = cast("av.VideoStream", container.streams[self.stream_index])
                stream.thread_type = "AUTO"
                for packet in self._packets(container, stream):
                    if packet.size:
                        digest.update(packet)
                        self.packets += 1
                        self.discarded += packet.is_discard
                        if packet.pts is not None:
                            self.packet_sizes[packet.pts] = packet.size
                    try:
                        frames = packet.decode()
                    except av.FFmpegError as error:
                        self._failed(f"decoding: {error.strerror or error}", packet)
                        continue
                    if packet.is_corrupt:
                        self._failed("reading: a packet is marked as damaged", packet)
                    yield from frames
        except av.FFmpegError as error:
            self._failed(f"opening: {error.strerror or error}")
        self.packet_hash = digest.hexdigest() if self.packets else None

    def __iter__(self) -> Iterator[DecodedFrame]:
        for index, frame in enumerate(self.av_frames()):
            if frame.time is None:
                raise DecodeError(self.path, f"frame {index} has no presentation time")
            image = upright(frame.to_ndarray(format="rgb24"), self.rotation)
            yield DecodedFrame(index, frame.time, image, frame.is_corrupt)

    def _packets(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        """Packets up to the end, or to where the container cannot be read on; then one that empties the decoder."""
        import av

        packets = demux(container, stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._failed(f"reading: {error.strerror or error}")
                flush = av.Packet()
                flush.stream = stream
                yield flush
                return
            yield packet

    def _failed(self, error: str, packet: av.Packet | None = None) -> None:
        self.packet_errors += 1
        self.error = self.error or error
        if packet is not None and packet.pts is not None:
            self.error_times.append(float(packet.pts * packet.time_base))


def iter_frames(path: str, stream_index: int, rotation: int = 0) -> VideoReader:
    """The reader of a stream; iterate it for `DecodedFrame`s, then read its counters."""
    return VideoReader(path, stream_index, rotation)


def frame_times(path: str, stream_index: int) -> list[float]:
    """Presentation times in seconds of all frames that decode, ascending. Decodes the file once."""
    return sorted(frame.time for frame in VideoReader(path, stream_index).av_frames() if frame.time is not None)
