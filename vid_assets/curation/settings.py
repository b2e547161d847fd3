"""The settings of curation beside the policy's limits: where a source is divided, and which clips count as copies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vid_assets.section import Fraction, Section


class Shots(Section):
    """Where a source is divided into clips. Adaptive threshold, window and length as swept for PySceneDetect."""

    splitter: Literal["adaptive", "transnet", "none"] = Field(
        "adaptive", description="transnet needs the extra of that name; none is for footage that is cut already"
    )
    adaptive_threshold: float = Field(3.5, gt=0)
    adaptive_window: int = Field(3, ge=1, description="frames on each side")
    min_content_delta: float = Field(15.0, ge=0, description="mean difference a cut has at least, 0-255")
    fade_luma: float = Field(12.0, ge=0, le=255, description="luma up to which a plain picture is black, 0-255")
    transnet_threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a frame is in a transition")
    trim_s: float = Field(0.1, ge=0, description="left out on each side of a cut or transition")
    max_clip_s: float = Field(16.0, gt=0, description="longer shots are divided, never rejected")
    divide_slack: Fraction = Field(0.25, description="room to divide where motion is least, as a share of a clip")


class Duplicates(Section):
    """Near duplicates: clips whose perceptual hashes differ in at most `max_distance` of 64 bits, most of the time."""

    max_distance: int = Field(6, ge=0, le=7)
