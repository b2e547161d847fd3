"""Every metric of every clip, without any threshold. Belongs here: turning stored statistics into one number each.

None is not measured, or not applicable to the kind of clip; which rule applies to which kind is in `policy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vid_assets.curation.continuity import Event, find_events
from vid_assets.curation.groups import LONG_SIDE
from vid_assets.curation.source import (
    BLACK_FRAME,
    CLIPPED_FRAME,
    FLICKER_S,
    FLICKER_TRIM,
    SHAKE_S,
    SHAKE_TRIM,
    Source,
    Stretch,
    runs,
    windowed,
)
from vid_assets.curation.tracks import sample

SCORES_VERSION = "2"

#: Metric -> what it is, with its unit. These are the columns of the table `clip_scores`.
METRICS: dict[str, str] = {
    "decoded_ratio": "decoded frames of the source over those it claims",
    "corrupt_frames": "frames of the clip that may show damage",
    "duration": "length, seconds",
    "fps": "mean frame rate, frames per second",
    "bits_per_pixel": "coded bits per displayed pixel and frame",
    "aspect": "width over height, after the letterbox is cropped",
    "short_side": "shorter side after the letterbox is cropped, pixels",
    "residual_cut": "strongest sign of a cut inside the clip; 1 is what the standard detector calls a cut",
    "near_duplicate_share": "share of frames that repeat the one before (luma differs by less than 0.5), 0-1",
    "longest_freeze": "longest run of such frames, seconds",
    "timestamp_step": "largest step between frame times, in medians of the clip's steps",
    "flicker": "half the second difference of mean luma, trimmed mean of the worst second, 0-255",
    "luma": "mean luma of the cropped picture, 0-255",
    "black_share": "share of frames of which 98 % is black, 0-1",
    "clipped_share": "share of frames of which more than 12 % is clipped at white, 0-1",
    "sharpness": "variance of the Laplacian at 360 px in the sharpest tenth of the picture, median over time",
    "motion": "mean optical flow in half a second, over the frame diagonal",
    "motion_least": "such flow of the half second that moves least",
    "motion_most": "such flow of the half second that moves most",
    "motion_peak": "largest 99th percentile of that flow",
    "motion_share": "motion completeness: share of the time in which something moves, 0-1",
    "shake": "distance of the camera from its smoothed path in the worst 1.5 seconds, over the frame diagonal",
    "shot_rate": "changes of shot per second in the source, by the standard detector; 0 for a single shot",
    "kept_area": "share of the picture that the letterbox crop keeps, 0-1",
}


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


def score(clip: Mapping[str, Any], source: Source) -> ClipScore:
    """Measure a clip (start_s, end_s, frame_count, kind) of a source."""
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    result = ClipScore(metrics)
    frames = source.frames(clip)
    if frames.stop <= frames.start:
        result.error = f"no decoded frame between {clip['start_s']:.3f} and {clip['end_s']:.3f} s"
        return result
    proof, video = source.groups["proof"], source.video
    result.crop, kept = _crop(source, frames)
    stretch = Stretch(source, frames, kept)
    width, height = result.crop[2:] if result.crop else (video["width"], video["height"])
    metrics["decoded_ratio"] = proof.decoded_ratio
    metrics["corrupt_frames"] = float(np.nansum(stretch.column("proof", "corrupt")))
    metrics["kept_area"] = kept
    metrics["aspect"] = width / height
    metrics["short_side"] = float(min(width, height))
    metrics["luma"] = _mean(stretch.luma)
    metrics["black_share"] = float((stretch.black >= BLACK_FRAME).mean())
    metrics["clipped_share"] = float((stretch.clipped > CLIPPED_FRAME).mean())
    metrics["sharpness"] = _median(stretch.column("light", "sharpness"))
    if clip["kind"] == "video":
        metrics.update(_timing(clip, stretch))
        metrics.update(_changes(stretch))
        metrics.update(_motion(stretch))
        metrics["bits_per_pixel"] = _bits_per_pixel(stretch.column("proof", "bytes"), video)
        metrics["shot_rate"] = _shot_rate(source)
        result.continuity = find_events(stretch)
    result.hashes, result.quarters = sample(source.groups["hashes"], frames, clip["start_s"], clip["end_s"])
    if proof.packet_hash:
        part = f"{proof.packet_hash}:{frames.start}:{frames.stop}"
        result.packet_hash = hashlib.sha256(part.encode()).hexdigest()
    return result


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _crop(source: Source, frames: slice) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """The box that leaves out the letterbox bars of the clip, and the share of the area it keeps.

    None and 1 without bars; None and None where every frame is black all over. The box is rounded inwards to even
    pixels.
    """
    if not np.isfinite(source.column("light", "left")[frames]).any():
        return None, None
    width, height = source.video["width"], source.video["height"]
    x, right = (_bar(source, side, frames, width, height) for side in ("left", "right"))
    y, bottom = (_bar(source, side, frames, width, height) for side in ("top", "bottom"))
    w, h = width - x - right, height - y - bottom
    if (w, h) == (width, height):
        return None, 1.0
    return (x, y, w, h), w * h / (width * height)


def _bar(source: Source, side: str, frames: slice, width: int, height: int) -> int:
    """Pixels of the bar on one side of the clip, rounded up to even; 0 where there is none.

    A bar ends sharply: within a pixel of the small picture, all is black on one side while some frame has something
    bright on the other. The margin of a dark scene does not, so it is not taken for one.
    """
    black, bright = (source.column("light", name)[frames] for name in (side, f"{side}_edge"))
    if not np.isfinite(bright).any():
        return 0
    length = width if side in ("left", "right") else height
    pixel = max(width, height, LONG_SIDE) / LONG_SIDE
    end = np.nanmin(bright) * length
    if np.nanmin(black) <= 0 or end - np.nanmin(black) * length > 1.5 * pixel:
        return 0
    # The last small pixel is a mixture of bar and picture
    return 2 * int(np.ceil((end + (pixel if pixel > 1 else 0)) / 2 - 1e-6))


def _timing(clip: Mapping[str, Any], stretch: Stretch) -> dict[str, float | None]:
    times, duration = stretch.times, clip["end_s"] - clip["start_s"]
    if len(times) < 2:
        return {"duration": duration}
    return {
        "duration": duration,
        "fps": float((len(times) - 1) / (times[-1] - times[0])),
        "timestamp_step": float(stretch.steps.max()),
    }


def _changes(stretch: Stretch) -> dict[str, float | None]:
    """What happens between successive frames inside the clip; the step into its first frame is not inside."""
    if len(stretch.times) < 2:
        return {}
    step = float(np.median(np.diff(stretch.times)))
    swing = stretch.swing
    return {
        "residual_cut": float(stretch.cuts[1:].max()),
        "near_duplicate_share": float(stretch.repeats[1:].mean()),
        "longest_freeze": max((stretch.edges[b] - stretch.edges[a] for a, b in runs(stretch.repeats)), default=0.0),
        # Zero for steady light and for a fade at constant speed; half the swing for light that alternates by frame
        "flicker": float(windowed(swing, step, FLICKER_S, FLICKER_TRIM).max()) if len(swing) else None,
    }


def _motion(stretch: Stretch) -> dict[str, float | None]:
    """Flow of the sampled pairs of which both frames lie in the clip, and how unsteady the camera is."""
    metrics: dict[str, float | None] = {}
    since, until, mean, peak = stretch.flow
    if len(mean):
        metrics = {
            "motion": float(mean.mean()),
            "motion_least": float(mean.min()),
            "motion_most": float(mean.max()),
            "motion_peak": float(peak.max()),
            "motion_share": float(np.average(~stretch.still, weights=until - since)),
        }
    times, off = stretch.shake
    if len(off):
        step = float(np.median(np.diff(times))) if len(times) > 1 else SHAKE_S
        metrics["shake"] = float(windowed(off, step, SHAKE_S, SHAKE_TRIM).max())
    return metrics


def _bits_per_pixel(sizes: np.ndarray, video: Mapping[str, Any]) -> float | None:
    """From the packets of the clip's frames, so that audio and other streams do not count."""
    if not np.isfinite(sizes).all():
        return None
    return float(sizes.mean() * 8 / (video["width"] * video["height"]))


def _shot_rate(source: Source) -> float | None:
    if len(source.times) < 2:
        return None
    # Changes, not shots: a single shot is no montage however short the file is
    return float(np.count_nonzero(source.cuts >= 1) / (source.edges[-1] - source.times[0]))
