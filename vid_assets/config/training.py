"""The section `train`: how runs are carried out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from model.recipe import RunSettings
from vid_assets.section import Section


class Train(Section, RunSettings):
    """How training runs are carried out. None of this changes what is learned, beyond rounding."""

    automatic: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_gb: float | None = Field(None, gt=0, description="GiB of one device that a run may take; null: not planned")
