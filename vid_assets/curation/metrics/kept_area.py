"""How much of the picture letterbox bars leave."""

from __future__ import annotations

from vid_assets.curation.metrics.base import VIDEO_AND_STILLS, Limit, Metric

METRICS = (
    Metric(
        "kept_area",
        "share of the picture that the letterbox crop keeps, 0-1",
        lambda clip: clip.letterbox.kept,
        VIDEO_AND_STILLS,
        lower=Limit(0.6, "the letterbox leaves most of the picture", ge=0, le=1),
    ),
)
