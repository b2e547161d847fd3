"""What moves: flow of the sampled pairs of frames that lie in the clip, and how unsteady the camera is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays, windowed
from vid_assets.curation.metrics.base import Limit, Metric

#: Shake is judged over so many seconds, without the share of the frames where it is largest.
SHAKE_S, SHAKE_TRIM = 1.5, 0.5
_UNIT = "diagonals"


def _mean_flow(over: Callable[[np.ndarray], float]) -> Callable[[ClipArrays], float | None]:
    def measure(clip: ClipArrays) -> float | None:
        _, _, mean, _ = clip.flow
        return float(over(mean)) if len(mean) else None

    return measure


def _peak(clip: ClipArrays) -> float | None:
    _, _, mean, peak = clip.flow
    return float(peak.max()) if len(mean) else None


def _share(clip: ClipArrays) -> float | None:
    since, until, mean, _ = clip.flow
    return float(np.average(~clip.still, weights=until - since)) if len(mean) else None


def _shake(clip: ClipArrays) -> float | None:
    times, off = clip.shake
    if not len(off):
        return None
    step = float(np.median(np.diff(times))) if len(times) > 1 else SHAKE_S
    return float(windowed(off, step, SHAKE_S, SHAKE_TRIM).max())


METRICS = (
    Metric(
        "motion",
        "mean optical flow in half a second, over the frame diagonal",
        _mean_flow(np.mean),
        unit=_UNIT,
        lower=Limit(0.0001, "something moves", ge=0, calibrated=True),
        upper=Limit(0.15, "not a blur of motion, on average", ge=0, calibrated=True),
    ),
    Metric("motion_least", "such flow of the half second that moves least", _mean_flow(np.min)),
    Metric("motion_most", "such flow of the half second that moves most", _mean_flow(np.max)),
    Metric("motion_peak", "largest 99th percentile of that flow", _peak),
    Metric(
        "motion_share",
        "motion completeness: share of the time in which something moves, 0-1",
        _share,
        lower=Limit(0.25, "something moves often enough", ge=0, le=1, calibrated=True),
    ),
    Metric(
        "shake",
        "distance of the camera from its smoothed path in the worst 1.5 seconds, over the frame diagonal",
        _shake,
        unit=_UNIT,
        upper=Limit(0.004, "the camera is steady enough", ge=0, calibrated=True),
    ),
)
