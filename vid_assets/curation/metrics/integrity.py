"""Whether the file shows what was filmed: what could not be decoded, and what may be damaged."""

from __future__ import annotations

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays
from vid_assets.curation.metrics.base import VIDEO_AND_STILLS, Limit, Metric


def decoded_ratio(clip: ClipArrays) -> float | None:
    """Decoded frames over those that the source has, 0-1, by what its header claims or else by its packets.

    Two packets may hold one frame (fields that are coded apart), or one that is never shown (VP9); so without a count
    in the header, what is missing is what a decoder refused. A Matroska file that is cut off reads to its new end
    without any error: then the duration that it claims tells.
    """
    video, proof, counted = clip.source.video, clip.source.groups["proof"], clip.source.groups.get("packets")
    if proof.decoded_ratio is None or video["kind"] != "video" or counted is None or not proof.timestamps:
        return proof.decoded_ratio
    (packets,), (discarded,) = counted.stats["packets"], counted.stats["discarded"]
    held = (packets or 0) - (discarded or 0)
    if video["claimed_frames"]:
        return min(1.0, len(proof.timestamps) / max(1.0, video["claimed_frames"] - (discarded or 0)))
    ratio = max(0.0, 1 - (proof.packet_errors or 0) / max(1.0, held))
    times, rate = np.asarray(proof.timestamps), video["fps"]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate if rate else None
    if step is not None and video["duration_s"]:
        ratio = min(ratio, (float(times[-1]) + step) / video["duration_s"])
    return min(1.0, ratio)


METRICS = (
    Metric(
        "decoded_ratio",
        "decoded frames of the source over those it has",
        decoded_ratio,
        VIDEO_AND_STILLS,
        version="1",
        lower=Limit(0.98, "the source decodes (nearly) whole", ge=0, le=1),
    ),
    Metric(
        "corrupt_frames",
        "frames of the clip that may show damage",
        lambda clip: float(np.nansum(clip.column("proof", "corrupt"))),
        VIDEO_AND_STILLS,
        "frames",
        upper=Limit(0, "no frame shows damage", ge=0),
    ),
)
