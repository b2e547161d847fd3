"""What a preset says, and the settings of the objectives that presets name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Families of denoisers; each is a class of diffusers with an adapter in `model.denoisers`.
FAMILIES = ("svd", "cogvideox", "hunyuan_video", "wan", "ltx_video")
#: What a denoiser can be given beside text and the noise level.
IMAGE_CONDITIONING = ("none", "first_frame")


@dataclass(frozen=True)
class Preset:
    """One denoiser.

    Attributes:
        name: in the configuration.
        family: one of `FAMILIES`.
        latent_family: the latent space that it was designed for, a key of `model.latent_space.FAMILIES`.
        text_family: the kind of text states that it reads (`text_encoder.family`); None: it reads no text.
        text_tokens: states that it reads of one text at most; every text is padded to so many. None: as many as
            there are, padding being masked.
        architecture: arguments of the diffusers class.
        objective: what it was trained with: `name`, and the settings that differ from that objective's defaults.
        pooled: whether it needs a pooled text state, from a second encoder. One that does not need it, but has a
            place for it, takes it where it is there.
        image_states: whether it needs the embedding of the first frame; else as with `pooled`.
        hub: repository of the published weights; None for the tiny ones.
        subfolder: where the weights lie in it.
        image_conditioning: `first_frame` for those that cannot do without it; else the default, `none`.
    """

    name: str
    family: str
    latent_family: str
    text_family: str | None
    text_tokens: int | None
    architecture: Mapping[str, Any]
    objective: Mapping[str, Any]
    pooled: bool = False
    image_states: bool = False
    hub: str | None = None
    subfolder: str | None = None
    image_conditioning: str = "none"


#: Settings of SVD's objective.
EDM: dict[str, Any] = {"name": "edm", "p_mean": 0.7, "p_std": 1.6}


def ddpm(snr_shift_scale: float) -> dict[str, Any]:
    """Settings of CogVideoX's objective."""
    return {"name": "ddpm", "snr_shift_scale": snr_shift_scale, "zero_terminal_snr": True, "prediction": "v"}


def flow(shift: float | str) -> dict[str, Any]:
    """Settings of flow matching with a time shift."""
    return {"name": "flow_matching", "shift": shift, "time_sampling": "logit_normal"}
