"""The rotation that a file's header asks for. Belongs here: reading display matrices, turning arrays upright.

PyAV shows the display matrix only on decoded frames, so the track header of MP4 and QuickTime files is read here
(ISO/IEC 14496-12, 8.3.2 `tkhd`). Rotations in other containers are rare and are not read from the header.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np


def upright(image: np.ndarray, rotation: int) -> np.ndarray:
    """`image` (H, W, ...) turned clockwise by `rotation` degrees (0, 90, 180 or 270), contiguous."""
    if rotation % 90:
        raise ValueError(f"rotation must be 0, 90, 180 or 270 degrees, got {rotation}")
    return np.ascontiguousarray(np.rot90(image, k=-(rotation // 90) % 4))


def track_rotation(path: str, track_id: int) -> int:
    """Clockwise degrees (0, 90, 180, 270) that show track `track_id` of an MP4 or QuickTime file upright.

    0 where the header holds no matrix for that track. Only box headers are read, no media.
    """
    with open(path, "rb") as file:
        whole = [(0, file.seek(0, 2))]
        for header in _inside(file, _inside(file, _inside(file, whole, b"moov"), b"trak"), b"tkhd"):
            rotation = _tkhd_rotation(file, header[0], track_id)
            if rotation is not None:
                return rotation
    return 0


def _inside(file: BinaryIO, parents: Iterable[tuple[int, int]], wanted: bytes) -> list[tuple[int, int]]:
    """Payload ranges of all boxes of one name directly inside the `parents`."""
    ranges = []
    for outer in parents:
        ranges += [(start, end) for name, start, end in _boxes(file, *outer) if name == wanted]
    return ranges


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name and payload range of the boxes between two offsets; stops at the first that is damaged."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size, name = struct.unpack(">I4s", header[:8])
        payload = start + 8
        if size == 1 and len(header) == 16:
            size, payload = struct.unpack(">Q", header[8:])[0], start + 16
        elif size == 0:
            size = end - start
        if size < payload - start:
            return
        yield name, payload, min(start + size, end)
        start += size


def _tkhd_rotation(file: BinaryIO, start: int, track_id: int) -> int | None:
    file.seek(start)
    data = file.read(96)
    wide = bool(data) and data[0] == 1
    id_at, matrix_at = (20, 52) if wide else (12, 40)
    if len(data) < matrix_at + 36 or struct.unpack_from(">I", data, id_at)[0] != track_id:
        return None
    a, b, _u, _c, _d = struct.unpack_from(">5i", data, matrix_at)
    return round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360
