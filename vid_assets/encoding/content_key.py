"""The content key of a latent: a hash over everything that made it, and nothing else.

Not in the key: where the file lies, its batch, the encode batch size, the flush, the number of threads, the device,
the backend. What is stored is what the VAE gave, neither clamped nor scaled: sampling and normalising is training's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vid_assets.digests import digest
from vid_assets.encoding.windows import Window
from vid_assets.footage.decode import frames_on_screen
from vid_assets.footage.shown import shown_by

#: Bumped by hand when the same parts give other latents: sampling of frames, resize and crop, what is stored.
LATENTS_VERSION = "2"


@dataclass(frozen=True)
class LatentParts:
    """The parts of a content key, which are columns of the table `latents`. All lengths in pixels, times in seconds."""

    source_hash: str
    stream_index: int | None
    rotation: int | None
    start_s: float
    clock: str
    fps: float | None
    frames: int
    height: int
    width: int
    transform: str
    decoder: str
    vae: str
    weights_hash: str
    encode_settings: str
    posterior: str
    dtype: str
    code_version: str

    @property
    def sample_id(self) -> str:
        """SHA-256 (hex) of the canonical JSON of all parts."""
        return digest(asdict(self))


def transform_name(crop: Sequence[int] | None) -> str:
    """How frames are brought to the bucket: the crop box (x, y, width, height) first, then cover and centre crop."""
    box = "full" if crop is None else "crop={},{},{},{}".format(*crop)
    return f"{box};cover;centre-crop;area-or-cubic;rgb8"


def shown_as(video: Mapping[str, Any]) -> str:
    """How the stored picture of a video is changed to be shown, beside its rotation: nothing, for nearly all."""
    if video["kind"] != "video":
        return shown_by(video)
    mirrored = "mirrored;" if video["is_mirrored"] else ""
    aspect = video["sample_aspect"] or 1.0
    return shown_by(video) + mirrored + (f"sample-aspect={aspect:.6g};" if aspect != 1.0 else "")


def posterior_name(posterior: str) -> str:
    """What of the posterior is stored, by its config value: `moments` (mean, then log variance) or `mean`."""
    return f"{posterior}, unscaled"


def clock_digest(timestamps: Sequence[float], times_s: Sequence[float]) -> str:
    """Hash of the timestamps of the frames that are on screen at `times_s`: of the frames that will be taken.

    `timestamps` are those of all frames of the stream, ascending, in seconds; a still has none.
    """
    chosen = frames_on_screen(np.asarray(timestamps, dtype=np.float64), times_s).tolist()
    return digest([round(timestamps[index], 6) if index >= 0 else None for index in chosen])[:16]


def latent_parts(
    video: Mapping[str, Any],
    timestamps: Sequence[float],
    window: Window,
    crop: Sequence[int] | None,
    decoder: str,
    vae_family: str,
    weights_hash: str,
    encode_settings: str,
    posterior: str,
    dtype: str,
    code_version: str,
) -> LatentParts:
    """The parts of the latent of a window of `video` (a row of `videos`), whose frames have `timestamps`.

    `posterior` is a `posterior_name`; `dtype` is the type in which values are stored.
    """
    bucket = window.bucket
    return LatentParts(
        source_hash=video["video_id"],
        stream_index=video["stream_index"],
        rotation=video["rotation"],
        start_s=window.start_s,
        clock=clock_digest(timestamps, window.times_s),
        fps=bucket.fps,
        frames=bucket.frames,
        height=bucket.height,
        width=bucket.width,
        transform=shown_as(video) + transform_name(crop),
        decoder=decoder,
        vae=vae_family,
        weights_hash=weights_hash,
        encode_settings=encode_settings,
        posterior=posterior,
        dtype=dtype,
        code_version=code_version,
    )
