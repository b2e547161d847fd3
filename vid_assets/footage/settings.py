"""The settings of footage: where it lies, how new files are grouped, and what reading one file may cost."""

from __future__ import annotations

from pydantic import Field

from vid_assets.section import Fraction, Section


class SourceFolder(Section):
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
