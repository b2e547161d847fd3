"""The one decode of curation. Belongs here: the pass over a source that fills every group of statistics, and the proof.

A group has a version, to be bumped by hand whenever what it holds changes; what each holds is in `measures`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vid_assets.curation.groups import ALL_GROUPS, Columns, GroupStats
from vid_assets.curation.lanes import Lanes
from vid_assets.curation.measures import MEASURES, Measure
from vid_assets.curation.picture import Scaler, StillPicture, VideoPicture
from vid_assets.footage.checksums import Checked, check_clusters
from vid_assets.footage.geometry import orientation
from vid_assets.footage.isolation import UnfinishedError, claimed_seconds, isolated
from vid_assets.footage.reader import DecodeError, VideoReader
from vid_assets.footage.settings import Decoding
from vid_assets.footage.shown import shown
from vid_assets.footage.stills import read_image

if TYPE_CHECKING:
    import av


def measure(path: str, video: Mapping[str, Any], groups: Collection[str]) -> dict[str, GroupStats]:
    """Decode the source at `path` once and fill the asked groups.

    `video` is a row of the table `videos` with status ok. Bad content never raises: it gives groups with status
    `failed`. An `OSError` of the file system does propagate, and a `ValueError` for an unknown group.
    """
    unknown = set(groups) - set(ALL_GROUPS)
    if unknown:
        raise ValueError(
            f"no such group of statistics: {', '.join(sorted(unknown))}; there are {', '.join(ALL_GROUPS)}"
        )
    with open(path, "rb"):
        pass
    measures = {name: MEASURES[name]() for name in ALL_GROUPS if name in groups and name in MEASURES}
    reader = VideoReader(path, video["stream_index"])
    results: dict[str, GroupStats] = {}
    if set(groups) - {"packets"}:
        proof = _still(path, measures) if video["kind"] == "image" else _video(reader, video, measures)
        results = {"proof": proof} | {name: _group(name, item, proof) for name, item in measures.items()}
    elif video["kind"] == "video":
        reader.count()
    return {name: _packets(reader) if name == "packets" else results[name] for name in ALL_GROUPS if name in groups}


def measure_apart(
    path: str,
    video: Mapping[str, Any],
    groups: Collection[str],
    limits: Decoding,
    progress: Callable[[int], None] | None = None,
) -> dict[str, GroupStats]:
    """`measure` in a process of its own; a file that crashes it, or takes too much, fails with that reason.

    The first group holds what the decoders said. `progress` is told the number of frames done, now and then.
    """
    footage_s = claimed_seconds(video["duration_s"], video["size_bytes"])
    try:
        answer = isolated(measure, path, dict(video), groups, limits=limits, footage_s=footage_s, progress=progress)
    except UnfinishedError as stopped:
        result = {name: _unfinished(name, stopped) for name in ALL_GROUPS if name in groups}
        log = stopped.log
    else:
        result, log = answer.value, answer.log
    for group in list(result.values())[:1]:
        group.log = log
    return result


def _unfinished(name: str, stopped: UnfinishedError) -> GroupStats:
    limit, value = stopped.limit or (None, None)
    error = stopped.reason
    return GroupStats(name, ALL_GROUPS[name], status="failed", error=error, hit_limit=limit, limit_value=value)


def _group(name: str, item: Measure, proof: GroupStats) -> GroupStats:
    item.finish()
    result = GroupStats(name, ALL_GROUPS[name], item.timestamps, item.stats, item.thumbnails, item.miniatures())
    if not proof.timestamps:
        result.status, result.error = "failed", proof.error
    return result


def _still(path: str, measures: Mapping[str, Measure]) -> GroupStats:
    proof = GroupStats("proof", ALL_GROUPS["proof"], stats={"corrupt": [], "bytes": []})
    try:
        image = read_image(path)
    except DecodeError as error:
        proof.status, proof.error, proof.decoded_ratio = "failed", error.reason, 0.0
        return proof
    for item in measures.values():
        item.add(StillPicture(image))
    proof.timestamps, proof.stats = [0.0], {"corrupt": [0.0], "bytes": [None]}
    proof.decoded_ratio, proof.corrupt_frames, proof.packet_errors = 1.0, 0, 0
    proof.packet_hash = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    return proof


def _packets(reader: VideoReader) -> GroupStats:
    """How the packets of a stream lie; a still has none."""
    counts: Columns = {
        name: [float(getattr(reader, name))] for name in ("packets", "discarded", "untimed", "misplaced")
    }
    return GroupStats("packets", ALL_GROUPS["packets"], [0.0], counts)


def _video(reader: VideoReader, video: Mapping[str, Any], measures: Mapping[str, Measure]) -> GroupStats:
    import av

    turn = (video["rotation"] or 0, bool(video["is_mirrored"]))
    scaler = Scaler(*turn, video["sample_aspect"])
    timestamps: list[float] = []
    stamps: list[int] = []
    flagged: list[bool] = []
    keys: list[bool] = []
    misplaced = 0
    error = None
    try:
        with Lanes(measures) as lanes:
            for frame in shown(reader.av_frames(), video):
                time_s = frame.time
                if time_s is None or frame.pts is None or (timestamps and time_s <= timestamps[-1]):
                    misplaced += 1
                    continue
                if not timestamps and orientation(frame) != turn:
                    error = f"frames ask to be {_turned(*orientation(frame))}, the header to be {_turned(*turn)}"
                timestamps.append(time_s)
                stamps.append(frame.pts)
                flagged.append(frame.is_corrupt)
                keys.append(frame.key_frame)
                lanes.feed(VideoPicture(frame, time_s, scaler), _frame_bytes(frame))
    except MemoryError:  # libav's is an FFmpegError as well
        raise
    except av.FFmpegError as problem:
        error = f"the pictures cannot be converted: {problem.strerror or problem}"
    checked = check_clusters(reader.path) if "matroska" in video["container"].split(",") else None
    corrupt = _damaged(timestamps, flagged, keys, reader.error_times, checked.wrong if checked else [])
    proof = GroupStats("proof", ALL_GROUPS["proof"], timestamps)
    proof.stats = {
        "corrupt": [float(value) for value in corrupt],
        "bytes": [_as_float(size) for size in reader.sizes_of(stamps)],
    }
    proof.decoded_ratio = _decoded_ratio(video, reader, timestamps)
    proof.corrupt_frames = sum(corrupt)
    proof.packet_errors = reader.packet_errors
    proof.packet_hash = reader.packet_hash
    proof.error = error or _complaint(reader, timestamps, misplaced, corrupt, checked)
    proof.status = "failed" if proof.error else "ok"
    return proof


def _frame_bytes(frame: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


def _turned(rotation: int, mirrored: bool) -> str:
    return f"turned by {rotation} degrees" + (" and mirrored" if mirrored else "")


def _as_float(value: int | None) -> float | None:
    return None if value is None else float(value)


def _damaged(
    times: list[float],
    flagged: list[bool],
    keys: list[bool],
    error_times: list[float],
    stretches: list[tuple[float, float]],
) -> list[bool]:
    """Which frames may show damage: those flagged, and all after a flagged frame or a lost packet up to the next key
    frame, and those in `stretches` whose checksum is wrong. A decoder flags only frames whose own data is broken, but
    those that refer to them show it as well."""
    damage = np.sort([time for time, bad in zip(times, flagged, strict=True) if bad] + error_times)
    key_times = np.array([time for time, key in zip(times, keys, strict=True) if key])
    damaged = []
    for time, bad in zip(times, flagged, strict=True):
        last_damage = np.searchsorted(damage, time, side="right") - 1
        last_key = np.searchsorted(key_times, time, side="right") - 1
        hit = last_damage >= 0 and (last_key < 0 or damage[last_damage] > key_times[last_key])
        damaged.append(bool(bad or hit or any(start <= time < end for start, end in stretches)))
    return damaged


def _decoded_ratio(video: Mapping[str, Any], reader: VideoReader, times: list[float]) -> float | None:
    claimed = video.get("claimed_frames")
    if claimed:
        return len(times) / max(1, claimed - reader.discarded)
    if not reader.packets:
        return None
    ratio = len(times) / max(1, reader.packets - reader.discarded)
    if len(times) > 1 and video.get("duration_s"):
        # A Matroska file that is cut off reads to its new end without any error; only the claimed duration tells
        end = times[-1] + float(np.median(np.diff(times)))
        ratio = min(ratio, end / video["duration_s"])
    return ratio


def _complaint(
    reader: VideoReader, times: list[float], misplaced: int, corrupt: list[bool], checked: Checked | None
) -> str | None:
    if not times:
        return f"no frame can be decoded ({reader.error})" if reader.error else "the stream holds no frame"
    where = _stretches([time for time, bad in zip(times, corrupt, strict=True) if bad] or sorted(reader.error_times))
    if reader.packet_errors:
        return f"{reader.packet_errors} damaged of {reader.packets} packets{where}; {reader.error}"
    if misplaced:
        return f"{misplaced} frames have no presentation time, or one that goes backwards"
    if checked and checked.wrong:
        return f"{len(checked.wrong)} of {checked.clusters} clusters do not fit their checksum{where}"
    if any(corrupt):
        return f"{sum(corrupt)} of {len(times)} frames may show damage{where}"
    return None


def _stretches(times: list[float]) -> str:
    """Where something is, for people: the first three stretches of `times` (seconds, ascending), a second apart."""
    if not times:
        return ""
    ends = [index for index in range(1, len(times)) if times[index] - times[index - 1] > 1.0]
    parts = [times[start:end] for start, end in zip([0, *ends], [*ends, len(times)], strict=True)]
    shown = [f"{part[0]:.2f}-{part[-1]:.2f} s" if len(part) > 1 else f"{part[0]:.2f} s" for part in parts[:3]]
    more = f" and {len(parts) - 3} more places" if len(parts) > 3 else ""
    return f" at {', '.join(shown)}{more}"
