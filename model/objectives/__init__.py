"""Objectives: what a denoiser is trained to predict, at which times, and the diffusers scheduler that samples it.

One file for each, with its settings. Nothing imports torch before an objective is made. An objective is named by a
mapping with `name` and that objective's own keys, as in a configuration or a training manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.objectives import ddpm, edm, flow_matching
from model.objectives.base import Objective, ObjectiveSettings, SettingError

#: Every objective by the name in its settings.
OBJECTIVES: dict[str, type[Objective]] = {
    objective.settings_class.model_fields["name"].default: objective
    for objective in (
        flow_matching.FlowMatching,
        edm.EDM,
        ddpm.DDPM,
    )
}


def read_settings(settings: Mapping[str, Any]) -> ObjectiveSettings:
    """The settings of an objective from a mapping with `name`; keys that are left out take their defaults.

    Raises:
        ObjectiveError: an unknown name or key, or a value out of range.
    """
    name = settings.get("name")
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise SettingError("name", f"{name!r}: known are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name].settings_class.read(settings)


def make(settings: ObjectiveSettings | Mapping[str, Any]) -> Objective:
    """The objective with these settings; raises as `read_settings` does."""
    chosen = settings if isinstance(settings, ObjectiveSettings) else read_settings(settings)
    return OBJECTIVES[chosen.name](chosen)
