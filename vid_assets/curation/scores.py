"""Every metric of every clip, without any threshold. Belongs here: turning stored statistics into one number each.

None is not measured, or not applicable to the kind of clip; which rule applies to which kind is in `policy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vid_assets.curation.groups import LONG_SIDE, GroupStats
from vid_assets.curation.hashing import from_halves
from vid_assets.curation.shots import as_array, cut_strength, dark_frames

SCORES_VERSION = "1"

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
    "near_duplicate_share": "share of successive frames that differ by less than 0.5 in mean luma, 0-1",
    "longest_freeze": "longest run of such frames, seconds",
    "timestamp_step": "largest step between frame times, in medians of the clip's steps",
    "flicker": "mean absolute second difference of mean luma, halved, 0-255",
    "luma": "mean luma of the cropped picture, 0-255",
    "black_share": "share of frames of which 98 % is black, 0-1",
    "clipped_share": "share of frames of which more than 12 % is clipped at white, 0-1",
    "sharpness": "variance of the Laplacian at 360 px, median of the sampled frames",
    "motion": "mean optical flow in half a second, over the frame diagonal",
    "motion_peak": "largest 99th percentile of that flow",
    "shot_rate": "shots per second in the source, by the standard detector",
    "kept_area": "share of the picture that the letterbox crop keeps, 0-1",
}

#: The standard detector of `residual_cut` and `shot_rate`: the defaults of `config.Shots`, but fixed, so that metrics
#: do not depend on how a source was divided.
_CUT_RATIO, _CUT_WINDOW, _CUT_CONTENT, _DARK_LUMA = 3.5, 3, 15.0, 12.0

_NEAR_DUPLICATE = 0.5
_BLACK_FRAME = 0.98
_CLIPPED_FRAME = 0.12
#: Where in a clip its hashes are taken, as fractions of its frames.
_HASH_POSITIONS = (0.125, 0.375, 0.625, 0.875)


@dataclass
class ClipScore:
    """All metrics of one clip (exactly the keys of `METRICS`), and what finds its duplicates.

    hashes: perceptual hashes as signed 64-bit integers, at fixed fractions of the clip; one for a still; empty
    where one of these frames is flat, such as black. packet_hash:
    SHA-256 (hex) that only clips of identical packets, cut alike, share. crop: (x, y, width, height) in displayed
    pixels that leaves out letterbox bars, None where there are none.
    """

    metrics: dict[str, float | None]
    hashes: list[int] = field(default_factory=list)
    packet_hash: str | None = None
    crop: tuple[int, int, int, int] | None = None
    error: str | None = None


def score(clip: Mapping[str, Any], video: Mapping[str, Any], groups: Mapping[str, GroupStats]) -> ClipScore:
    """Measure a clip (start_s, end_s, frame_count, kind) of `video` (a row of `videos`, with size_bytes)."""
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    result = ClipScore(metrics)
    proof, light, change = groups["proof"], groups["light"], groups["change"]
    frames = _frames(clip, light.timestamps)
    if frames.stop <= frames.start:
        result.error = f"no decoded frame between {clip['start_s']:.3f} and {clip['end_s']:.3f} s"
        return result
    result.crop, kept = _crop(light, frames, video)
    width, height = result.crop[2:] if result.crop else (video["width"], video["height"])
    metrics["decoded_ratio"] = proof.decoded_ratio
    metrics["corrupt_frames"] = float(np.nansum(_part(proof, "corrupt", frames)))
    metrics["kept_area"] = kept
    metrics["aspect"] = width / height
    metrics["short_side"] = float(min(width, height))
    metrics["luma"] = _luma(light, frames, kept)
    metrics["black_share"] = float((_part(light, "black", frames) >= _BLACK_FRAME).mean())
    metrics["clipped_share"] = float((_part(light, "clipped", frames) > _CLIPPED_FRAME).mean())
    metrics["sharpness"] = _median(_part(light, "sharpness", frames))
    if clip["kind"] == "video":
        metrics.update(_timing(clip, np.asarray(light.timestamps[frames])))
        strength = _standard_cuts(change, light)
        metrics.update(_changes(change, frames, strength))
        metrics.update(_motion(groups["motion"], clip))
        metrics["flicker"] = _flicker(_part(light, "luma", frames))
        metrics["bits_per_pixel"] = _bits_per_pixel(_part(proof, "bytes", frames), video)
        metrics["shot_rate"] = _shot_rate(change, strength)
    result.hashes = _hashes(groups["hashes"], frames, clip["kind"])
    if proof.packet_hash:
        part = f"{proof.packet_hash}:{frames.start}:{frames.stop}"
        result.packet_hash = hashlib.sha256(part.encode()).hexdigest()
    return result


def _frames(clip: Mapping[str, Any], timestamps: list[float]) -> slice:
    """The frames of the clip, as a slice of the source's frames."""
    times = np.asarray(timestamps)
    start = int(np.searchsorted(times, clip["start_s"] - 1e-6))
    if clip["start_s"] == clip["end_s"]:
        return slice(start, min(start + 1, len(times)))
    return slice(start, int(np.searchsorted(times, clip["end_s"] - 1e-6)))


def _part(group: GroupStats, name: str, frames: slice) -> np.ndarray:
    return as_array(group.stats[name][frames])


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _crop(
    light: GroupStats, frames: slice, video: Mapping[str, Any]
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """The box that leaves out the letterbox bars of the clip, and the share of the area it keeps.

    None and 1 without bars; None and None where every frame is black all over. The box is rounded inwards to even
    pixels.
    """
    if not np.isfinite(_part(light, "left", frames)).any():
        return None, None
    width, height = video["width"], video["height"]
    x, right = (_bar(light, side, frames, width, height) for side in ("left", "right"))
    y, bottom = (_bar(light, side, frames, width, height) for side in ("top", "bottom"))
    w, h = width - x - right, height - y - bottom
    if (w, h) == (width, height):
        return None, 1.0
    return (x, y, w, h), w * h / (width * height)


def _bar(light: GroupStats, side: str, frames: slice, width: int, height: int) -> int:
    """Pixels of the bar on one side of the clip, rounded up to even; 0 where there is none.

    A bar ends sharply: within a pixel of the small picture, all is black on one side while some frame has something
    bright on the other. The margin of a dark scene does not, so it is not taken for one.
    """
    black, bright = _part(light, side, frames), _part(light, f"{side}_edge", frames)
    if not np.isfinite(bright).any():
        return 0
    length = width if side in ("left", "right") else height
    pixel = max(width, height, LONG_SIDE) / LONG_SIDE
    end = np.nanmin(bright) * length
    if np.nanmin(black) <= 0 or end - np.nanmin(black) * length > 1.5 * pixel:
        return 0
    # The last small pixel is a mixture of bar and picture
    return 2 * int(np.ceil((end + (pixel if pixel > 1 else 0)) / 2 - 1e-6))


def _luma(light: GroupStats, frames: slice, kept: float | None) -> float | None:
    """Mean luma; bars count as nothing, so a letterboxed picture is as bright as it would be without them."""
    mean = float(np.nanmean(_part(light, "luma", frames)))
    return mean / kept if kept else mean


def _timing(clip: Mapping[str, Any], times: np.ndarray) -> dict[str, float | None]:
    steps = np.diff(times)
    if not len(steps):
        return {"duration": clip["end_s"] - clip["start_s"], "fps": None, "timestamp_step": None}
    return {
        "duration": clip["end_s"] - clip["start_s"],
        "fps": float(len(steps) / (times[-1] - times[0])),
        "timestamp_step": float(steps.max() / np.median(steps)),
    }


def _standard_cuts(change: GroupStats, light: GroupStats) -> np.ndarray:
    dark = dark_frames(as_array(light.stats["luma"]), _DARK_LUMA)
    return cut_strength(change, dark, _CUT_RATIO, _CUT_WINDOW, _CUT_CONTENT)


def _changes(change: GroupStats, frames: slice, strength: np.ndarray) -> dict[str, float | None]:
    """What happens between successive frames inside the clip; the step into its first frame is not inside."""
    inside = slice(frames.start + 1, frames.stop)
    luma = _part(change, "luma_change", inside)
    if not len(luma):
        return {}
    steps = np.diff(change.timestamps[frames])
    frozen, longest, run = luma < _NEAR_DUPLICATE, 0.0, 0.0
    for still, step in zip(frozen, steps, strict=True):
        run = run + float(step) if still else 0.0
        longest = max(longest, run)
    return {
        "residual_cut": float(strength[inside].max()),
        "near_duplicate_share": float(frozen.mean()),
        "longest_freeze": longest,
    }


def _motion(motion: GroupStats, clip: Mapping[str, Any]) -> dict[str, float | None]:
    """Flow of the sampled pairs of which both frames lie in the clip."""
    times, since = np.asarray(motion.timestamps), as_array(motion.stats["since"])
    inside = (since >= clip["start_s"] - 1e-6) & (times < clip["end_s"] - 1e-6)
    mean, peak = as_array(motion.stats["mean"])[inside], as_array(motion.stats["peak"])[inside]
    if not np.isfinite(mean).any():
        return {}
    return {"motion": float(np.nanmean(mean)), "motion_peak": float(np.nanmax(peak))}


def _flicker(luma: np.ndarray) -> float | None:
    """Zero for steady light and for a fade at constant speed; half the swing for light that alternates by frame."""
    return float(np.abs(np.diff(luma, 2)).mean() / 2) if len(luma) >= 3 else None


def _bits_per_pixel(sizes: np.ndarray, video: Mapping[str, Any]) -> float | None:
    """From the packets of the clip's frames, so that audio and other streams do not count."""
    if not np.isfinite(sizes).all():
        return None
    return float(sizes.mean() * 8 / (video["width"] * video["height"]))


def _shot_rate(change: GroupStats, strength: np.ndarray) -> float | None:
    times = change.timestamps
    if len(times) < 2:
        return None
    shots = np.count_nonzero(strength >= 1) + 1
    return float(shots / (times[-1] - times[0] + np.median(np.diff(times))))


def _hashes(group: GroupStats, frames: slice, kind: str) -> list[int]:
    """Hashes at fixed fractions of the clip's frames; none where one of these frames is flat."""
    count = frames.stop - frames.start
    hashes = []
    for position in (0.5,) if kind == "image" else _HASH_POSITIONS:
        frame = frames.start + int(position * count)
        high, low = group.stats["high"][frame], group.stats["low"][frame]
        if high is None or low is None:
            return []
        hashes.append(from_halves(high, low))
    return hashes
