"""Whether the file shows what was filmed: what could not be decoded, and what may be damaged."""

from __future__ import annotations

import numpy as np

from vid_assets.curation.metrics.base import VIDEO_AND_STILLS, Limit, Metric

METRICS = (
    Metric(
        "decoded_ratio",
        "decoded frames of the source over those it claims",
        lambda clip: clip.source.groups["proof"].decoded_ratio,
        VIDEO_AND_STILLS,
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
