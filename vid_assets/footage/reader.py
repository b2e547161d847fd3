"""One pass over a video stream. Belongs here: reading every packet and frame once, and counting what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from vid_assets.footage.clock import has_times, on_clock
from vid_assets.footage.heartbeat import beat

if TYPE_CHECKING:
    import av
    from av.container import InputContainer


class DecodeError(ValueError):
    """A frame that was asked for cannot be decoded. The message names the file; `reason` is the same without it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


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

    Take `av_frames` once; afterwards `packets`, `discarded` (packets that the container says not to show), `untimed`
    (those without a presentation time), `misplaced` (keyframes that are not shown in the place at which they are
    stored, and pictures that are stored after a keyframe and shown before it, as in an open group of pictures),
    `packet_errors` (packets that were flagged, or that the decoder refused), `error_times` (their times in seconds,
    where known), `packet_hash` (SHA-256, hex, over the payloads of the stream's packets) and `error` (the first
    failure, or None) hold, and `sizes_of` gives the bytes of frames. `count` goes through the packets alone.
    """

    def __init__(self, path: str, stream_index: int) -> None:
        self.path = path
        self.stream_index = stream_index
        self.packets = 0
        self.discarded = 0
        self.untimed = 0
        self.misplaced = 0
        self.packet_errors = 0
        self.error_times: list[float] = []
        self.packet_hash: str | None = None
        self.error: str | None = None
        self._sizes: list[int] = []
        self._size_at: dict[int, int] = {}
        self._timed = True
        self._latest: int | None = None
        self._key: int | None = None

    def av_frames(self) -> Iterator[av.VideoFrame]:
        """The frames as libav has them, neither converted nor turned, on the presentation clock.

        Raises MemoryError where the process may have no more.
        """
        import av

        digest = hashlib.sha256()
        try:
            with open_container(self.path) as container:
                stream = cast("av.VideoStream", container.streams[self.stream_index])
                stream.thread_type = "AUTO"
                self._timed = has_times(container, stream)
                yield from on_clock(self._decoded(container, stream, digest), container, stream)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._failed(f"opening: {error.strerror or error}")
        self.packet_hash = digest.hexdigest() if self.packets else None

    def count(self) -> None:
        """Count the packets, and decode none of them."""
        import av

        try:
            with open_container(self.path) as container:
                stream = cast("av.VideoStream", container.streams[self.stream_index])
                for packet in self._packets(container, stream):
                    beat(0)
                    if packet.size:
                        self._counted(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._failed(f"opening: {error.strerror or error}")

    def _counted(self, packet: av.Packet) -> None:
        self.packets += 1
        self.discarded += packet.is_discard
        if packet.pts is None:
            self.untimed += 1
            return
        if packet.is_keyframe:
            self.misplaced += self._latest is not None and packet.pts <= self._latest
            self._key = packet.pts
        else:
            self.misplaced += self._key is not None and packet.pts < self._key
        self._latest = packet.pts if self._latest is None else max(self._latest, packet.pts)

    def _decoded(self, container: InputContainer, stream: av.VideoStream, digest: Any) -> Iterator[av.VideoFrame]:
        import av

        shown = 0
        for packet in self._packets(container, stream):
            beat(shown)
            if packet.size:
                digest.update(packet)
                self._counted(packet)
                self._sizes.append(packet.size)
                if packet.pts is not None:
                    self._size_at[packet.pts] = packet.size
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except av.FFmpegError as error:
                self._failed(f"decoding: {error.strerror or error}", packet)
                continue
            if packet.is_corrupt:
                self._failed("reading: a packet is marked as damaged", packet)
            shown += len(frames)
            yield from frames

    def sizes_of(self, stamps: Sequence[int]) -> list[int | None]:
        """The bytes of the frames with the timestamps `stamps` (of all frames, ascending), None where unknown.

        Where the file has no times, those of the packets in order: right in sum, but not frame by frame.
        """
        if self._timed:
            return [self._size_at.get(stamp) for stamp in stamps]
        return [self._sizes[index] if index < len(self._sizes) else None for index in range(len(stamps))]

    def _packets(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        """Packets up to the end, or to where the container cannot be read on; then one that empties the decoder."""
        import av

        packets = demux(container, stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
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
        stamp = None if packet is None else packet.dts if packet.pts is None else packet.pts
        if packet is not None and stamp is not None:
            self.error_times.append(float(stamp * packet.time_base))
