"""The scores of a clip: every metric, without any limit, and what finds its duplicates. Nothing is decoded here.

What each metric is stands in `metrics`; None is not measured, or not applicable to the kind of clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vid_assets.curation.clip_arrays import ClipArrays
from vid_assets.curation.continuity import Event, find_events
from vid_assets.curation.letterbox import find_letterbox
from vid_assets.curation.metrics import METRICS
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.curation.tracks import sample

#: Bumped by hand with what all metrics read; a metric that is newer, or computed otherwise, has a version of its own.
_COMMON = "2"
SCORES_VERSION = ",".join([_COMMON, *(f"{one.name}:{one.version}" for one in METRICS.values() if one.version)])


@dataclass
class ClipScore:
    """All metrics of one clip (exactly the keys of `METRICS`), and what finds its duplicates.

    hashes: perceptual hashes as signed 64-bit integers, `tracks.HASH_RATE` a second from the start; one for a still;
    None where the picture is flat, such as black. quarters: mean luma of the four quarters of the picture at these
    times, 0-255: top left, top right, bottom left, bottom right, one time after the other. packet_hash:
    SHA-256 (hex) that only clips of identical packets, cut alike, share. crop: (x, y, width, height) in displayed
    pixels that leaves out letterbox bars, None where there are none. continuity: what interrupts the clip, by time.
    """

    metrics: dict[str, float | None]
    hashes: list[int | None] = field(default_factory=list)
    quarters: list[float] = field(default_factory=list)
    packet_hash: str | None = None
    crop: tuple[int, int, int, int] | None = None
    continuity: list[Event] = field(default_factory=list)
    error: str | None = None


def score(clip: Mapping[str, Any], source: SourceArrays) -> ClipScore:
    """Measure a clip (start_s, end_s, frame_count, kind) of a source."""
    frames = source.frames(clip)
    if frames.stop <= frames.start:
        error = f"no decoded frame between {clip['start_s']:.3f} and {clip['end_s']:.3f} s"
        return ClipScore(dict.fromkeys(METRICS), error=error)
    shown = ClipArrays(source, clip, find_letterbox(source, frames))
    result = ClipScore({name: metric.of(shown) for name, metric in METRICS.items()}, crop=shown.letterbox.crop)
    if clip["kind"] == "video":
        result.continuity = find_events(shown)
    result.hashes, result.quarters = sample(source.groups["hashes"], frames, clip["start_s"], clip["end_s"])
    if packet_hash := source.groups["proof"].packet_hash:
        part = f"{packet_hash}:{frames.start}:{frames.stop}"
        result.packet_hash = hashlib.sha256(part.encode()).hexdigest()
    return result
