"""Damage that no decoder notices, in Matroska: its clusters may carry a CRC-32. Belongs here: checking those.

VP8, VP9, MJPEG and mostly HEVC hold nothing to tell damaged pictures by, and libav does not check what the container
holds (RFC 8794, section 11.3.1, and RFC 9559). ffmpeg writes these checksums into .mkv, not into .webm.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vid_assets.footage.heartbeat import beat

_SEGMENT, _INFO, _CLUSTER = 0x18538067, 0x1549A966, 0x1F43B675
_TIMESTAMP_SCALE, _TIMESTAMP, _CRC32 = 0x2AD7B1, 0xE7, 0xBF
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Checked:
    """How many clusters have a checksum, and from when to when, in seconds, those last whose checksum is wrong."""

    clusters: int
    wrong: list[tuple[float, float]]


@dataclass(frozen=True)
class _Element:
    name: int
    start: int
    end: int


def check_clusters(path: str) -> Checked:
    """Check every cluster of the Matroska file at `path`, up to where its structure itself is damaged."""
    scale = 1_000_000  # nanoseconds in a tick, where the header does not say
    starts: list[float] = []
    wrong: list[int] = []
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        for segment in _elements(file, 0, end):
            for element in _elements(file, segment.start, segment.end) if segment.name == _SEGMENT else ():
                beat()
                if element.name == _INFO:
                    for item in _elements(file, element.start, element.end):
                        scale = _number(file, item) if item.name == _TIMESTAMP_SCALE else scale
                elif element.name == _CLUSTER:
                    checksum, time = _cluster(file, element)
                    if checksum is not None:
                        if not checksum:
                            wrong.append(len(starts))
                        starts.append(time * scale / 1e9)
    ends = [*starts[1:], float("inf")]
    return Checked(len(starts), [(starts[number], ends[number]) for number in wrong])


def _cluster(file: BinaryIO, cluster: _Element) -> tuple[bool | None, int]:
    """Whether the checksum of a cluster is right, None where it has none; and its time in ticks."""
    time, checksum = 0, None
    for number, item in enumerate(_elements(file, cluster.start, cluster.end)):
        if number == 0 and item.name == _CRC32:
            file.seek(item.start)
            stored = int.from_bytes(file.read(4), "little")
            checksum = stored == _crc32(file, item.end, cluster.end)
        elif item.name == _TIMESTAMP:
            time = _number(file, item)
        elif number > 1:
            break
    return checksum, time


def _crc32(file: BinaryIO, start: int, end: int) -> int:
    file.seek(start)
    value = 0
    while start < end and (chunk := file.read(min(_CHUNK, end - start))):
        value = zlib.crc32(chunk, value)
        start += len(chunk)
    return value


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[_Element]:
    """The elements between two offsets, up to the first that is damaged, cut off, or of unknown length but the last."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        name, name_length = _variable(head, keep_marker=True)
        size, size_length = _variable(head[name_length:], keep_marker=False)
        if not name_length or not size_length:
            return
        payload = start + name_length + size_length
        unknown = size == (1 << 7 * size_length) - 1
        if name == _SEGMENT and (unknown or payload + size > end):
            size = end - payload
        elif unknown or payload + size > end:
            return
        yield _Element(name, payload, payload + size)
        start = payload + size


def _variable(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length and how many bytes it takes, 0 where it is damaged."""
    if not data or not data[0]:
        return 0, 0
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), length


def _number(file: BinaryIO, element: _Element) -> int:
    file.seek(element.start)
    return int.from_bytes(file.read(min(8, element.end - element.start)), "big")
