"""How long, how often and how finely a clip was coded."""

from __future__ import annotations

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays
from vid_assets.curation.metrics.base import Limit, Metric


def _fps(clip: ClipArrays) -> float | None:
    times = clip.times
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else None


def _bits_per_pixel(clip: ClipArrays) -> float | None:
    """From the packets of the clip's frames, so that audio and other streams do not count."""
    sizes, video = clip.column("proof", "bytes"), clip.source.video
    if not np.isfinite(sizes).all():
        return None
    return float(sizes.mean() * 8 / (video["width"] * video["height"]))


METRICS = (
    Metric(
        "duration",
        "length, seconds",
        lambda clip: clip.length_s,
        unit="s",
        lower=Limit(2.0, "long enough to train on", ge=0),
    ),
    Metric(
        "fps",
        "mean frame rate, frames per second",
        _fps,
        unit="frames/s",
        lower=Limit(16.0, "no slide show", ge=0),
    ),
    Metric(
        "bits_per_pixel",
        "coded bits per displayed pixel and frame",
        _bits_per_pixel,
        unit="bit",
        lower=Limit(0.02, "not compressed to mush", ge=0),
    ),
)
