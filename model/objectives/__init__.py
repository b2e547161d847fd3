"""Objectives: what a denoiser is trained to predict, at which times, and the diffusers scheduler that samples it.

One file for each. `settings` needs no torch; the rest is imported by `make`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.objectives.settings import (
    FAMILY_OBJECTIVE,
    OBJECTIVES,
    DDPMSettings,
    EDMSettings,
    FlowMatchingSettings,
    ObjectiveError,
    as_mapping,
    read_settings,
)

if TYPE_CHECKING:
    from model.objectives.base import Objective

__all__ = [
    "FAMILY_OBJECTIVE",
    "OBJECTIVES",
    "DDPMSettings",
    "EDMSettings",
    "FlowMatchingSettings",
    "ObjectiveError",
    "as_mapping",
    "make",
    "read_settings",
]


def make(settings: Mapping[str, Any]) -> Objective:
    """The objective of a mapping with `name` and that objective's keys (see `settings`).

    Raises:
        ObjectiveError: an unknown name or key, or a value out of range.
    """
    chosen = read_settings(settings)
    if isinstance(chosen, EDMSettings):
        from model.objectives.edm import EDM

        return EDM(chosen)
    if isinstance(chosen, DDPMSettings):
        from model.objectives.ddpm import DDPM

        return DDPM(chosen)
    from model.objectives.flow_matching import FlowMatching

    return FlowMatching(chosen)
