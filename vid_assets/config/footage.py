"""The sections about footage: where it lies, how it is read, divided into clips and judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vid_assets.config.base import Fraction, Section


class Source(Section):
    """One place that footage comes from: a folder, as a path or an fsspec URI."""

    uri: str = Field(min_length=1)
    include: tuple[str, ...] = ("**/*",)
    exclude: tuple[str, ...] = ()


class Batching(Section):
    """How new files are grouped into ingest batches. A batch is closed by whichever limit comes first."""

    max_files: int = Field(64, ge=1)
    max_bytes: int = Field(20_000_000_000, ge=1)


class Ingest(Section):
    """Watching for new footage: a file is taken once its size was unchanged for `settle_s` seconds."""

    settle_s: float = Field(5.0, ge=0.0)
    sensor_interval_s: int = Field(30, ge=1)
    watch: bool = Field(False, description="start the sensors with the daemon, without a click in the web UI")
    readable_share_min: Fraction = Field(0.5, description="a batch with fewer readable files stops there")


class Decoding(Section):
    """What reading one file may cost, in a process of its own, before it is given up as a row with that reason.

    A file that failed by a limit is tried again once that limit is raised.
    """

    memory_gb: float = Field(6.0, ge=0.5, description="memory that reading a file may take, beside the code itself")
    max_pixels: int = Field(120_000_000, ge=1, description="width x height of a picture as displayed")
    max_hours: float = Field(48.0, gt=0, description="length that a header may claim")
    stall_s: float = Field(120.0, gt=0, description="seconds without a packet or frame")
    time_limit_s: float = Field(1800.0, gt=0, description="seconds for a file, besides 20 for each second of footage")


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


class Policy(Section):
    """Limits that a clip must keep. A rule set to null is switched off. Units are in `curation.policy.RULES`."""

    decoded_ratio_min: float | None = Field(0.98, ge=0, le=1)
    corrupt_frames_max: float | None = Field(0, ge=0)
    duration_min: float | None = Field(2.0, ge=0)
    fps_min: float | None = Field(16.0, ge=0)
    bits_per_pixel_min: float | None = Field(0.02, ge=0)
    aspect_min: float | None = Field(1 / 3, gt=0)
    aspect_max: float | None = Field(3.0, gt=0)
    short_side_min: float | None = Field(256, ge=1)
    residual_cut_max: float | None = Field(1.0, ge=0)
    near_duplicate_share_max: float | None = Field(0.25, ge=0, le=1)
    longest_freeze_max: float | None = Field(0.5, ge=0)
    timestamp_step_max: float | None = Field(2.5, ge=1)
    flicker_max: float | None = Field(3.0, ge=0)
    luma_min: float | None = Field(20.0, ge=0, le=255)
    luma_max: float | None = Field(180.0, ge=0, le=255)
    black_share_max: float | None = Field(0.05, ge=0, le=1)
    clipped_share_max: float | None = Field(0.05, ge=0, le=1)
    sharpness_min: float | None = Field(60.0, ge=0)
    motion_min: float | None = Field(0.0001, ge=0)
    motion_max: float | None = Field(0.15, ge=0)
    motion_share_min: float | None = Field(0.25, ge=0, le=1)
    shake_max: float | None = Field(0.004, ge=0)
    shot_rate_max: float | None = Field(0.85, gt=0)
    kept_area_min: float | None = Field(0.6, ge=0, le=1)


class Duplicates(Section):
    """Near duplicates: clips whose perceptual hashes differ in at most `max_distance` of 64 bits, most of the time."""

    max_distance: int = Field(6, ge=0, le=7)
