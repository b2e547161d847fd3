"""How bright and how sharp the picture inside the letterbox is."""

from __future__ import annotations

from vid_assets.curation.metrics.base import VIDEO_AND_STILLS, Limit, Metric, mean, median

#: Share of the picture that makes a frame black, and share of it that makes one clipped.
BLACK_FRAME = 0.98
CLIPPED_FRAME = 0.12

METRICS = (
    Metric(
        "luma",
        "mean luma of the cropped picture, 0-255",
        lambda clip: mean(clip.luma),
        VIDEO_AND_STILLS,
        "of 255",
        lower=Limit(20.0, "not too dark", ge=0, le=255),
        upper=Limit(180.0, "not too bright", ge=0, le=255),
    ),
    Metric(
        "black_share",
        "share of frames of which 98 % is black, 0-1",
        lambda clip: float((clip.black >= BLACK_FRAME).mean()),
        VIDEO_AND_STILLS,
        upper=Limit(0.05, "few black frames", ge=0, le=1),
    ),
    Metric(
        "clipped_share",
        "share of frames of which more than 12 % is clipped at white, 0-1",
        lambda clip: float((clip.clipped > CLIPPED_FRAME).mean()),
        VIDEO_AND_STILLS,
        upper=Limit(0.05, "few overexposed frames", ge=0, le=1),
    ),
    Metric(
        "sharpness",
        "variance of the Laplacian at 360 px in the sharpest tenth of the picture, median over time",
        lambda clip: median(clip.column("light", "sharpness")),
        VIDEO_AND_STILLS,
        lower=Limit(60.0, "in focus", ge=0, calibrated=True),
    ),
)
