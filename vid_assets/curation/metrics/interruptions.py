"""What happens between successive frames inside a clip; the step into its first frame is not inside."""

from __future__ import annotations

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays, runs, windowed
from vid_assets.curation.metrics.base import Limit, Metric

#: Flicker is judged over so many seconds, without the share of the frames where it is largest.
FLICKER_S, FLICKER_TRIM = 1.0, 0.25


def _residual_cut(clip: ClipArrays) -> float | None:
    return float(clip.cuts[1:].max()) if len(clip.times) > 1 else None


def _near_duplicate_share(clip: ClipArrays) -> float | None:
    return float(clip.repeats[1:].mean()) if len(clip.times) > 1 else None


def _longest_freeze(clip: ClipArrays) -> float | None:
    if len(clip.times) < 2:
        return None
    return max((clip.edges[b] - clip.edges[a] for a, b in runs(clip.repeats)), default=0.0)


def _timestamp_step(clip: ClipArrays) -> float | None:
    return float(clip.steps.max()) if len(clip.times) > 1 else None


def _flicker(clip: ClipArrays) -> float | None:
    """Zero for steady light and for a fade at constant speed; half the swing for light that alternates by frame."""
    if not len(clip.swing):
        return None
    step = float(np.median(np.diff(clip.times)))
    return float(windowed(clip.swing, step, FLICKER_S, FLICKER_TRIM).max())


METRICS = (
    Metric(
        "residual_cut",
        "strongest sign of a cut inside the clip; 1 is what the standard detector calls a cut",
        _residual_cut,
        upper=Limit(1.0, "no cut was missed inside the clip", ge=0, calibrated=True),
    ),
    Metric(
        "near_duplicate_share",
        "share of frames that repeat the one before (luma differs by less than 0.5), 0-1",
        _near_duplicate_share,
        upper=Limit(0.25, "few repeated frames", ge=0, le=1, calibrated=True),
    ),
    Metric(
        "longest_freeze",
        "longest run of such frames, seconds",
        _longest_freeze,
        unit="s",
        upper=Limit(0.5, "no long freeze", ge=0, calibrated=True),
    ),
    Metric(
        "timestamp_step",
        "largest step between frame times, in medians of the clip's steps",
        _timestamp_step,
        unit="medians",
        upper=Limit(2.5, "no gap in the frame times", ge=1, calibrated=True),
    ),
    Metric(
        "flicker",
        "half the second difference of mean luma, trimmed mean of the worst second, 0-255",
        _flicker,
        unit="of 255",
        upper=Limit(3.0, "steady light", ge=0, calibrated=True),
    ),
)
