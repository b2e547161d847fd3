"""How often the whole source changes from shot to shot."""

from __future__ import annotations

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays
from vid_assets.curation.metrics.base import Limit, Metric


def _shot_rate(clip: ClipArrays) -> float | None:
    source = clip.source
    if len(source.times) < 2:
        return None
    # Changes, not shots: a single shot is no montage however short the file is
    return float(np.count_nonzero(source.cuts >= 1) / (source.edges[-1] - source.times[0]))


METRICS = (
    Metric(
        "shot_rate",
        "changes of shot per second in the source, by the standard detector; 0 for a single shot",
        _shot_rate,
        unit="cuts/s",
        upper=Limit(0.85, "the source is no rapid montage", gt=0),
    ),
)
