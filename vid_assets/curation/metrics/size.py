"""The shape and the size of the picture that is shown, without letterbox bars."""

from __future__ import annotations

from vid_assets.curation.metrics.base import VIDEO_AND_STILLS, Limit, Metric

METRICS = (
    Metric(
        "aspect",
        "width over height, after the letterbox is cropped",
        lambda clip: clip.size[0] / clip.size[1],
        VIDEO_AND_STILLS,
        lower=Limit(1 / 3, "not extremely tall", gt=0),
        upper=Limit(3.0, "not extremely wide", gt=0),
    ),
    Metric(
        "short_side",
        "shorter side after the letterbox is cropped, pixels",
        lambda clip: float(min(clip.size)),
        VIDEO_AND_STILLS,
        "px",
        lower=Limit(256, "enough pixels without the letterbox", ge=1),
    ),
)
