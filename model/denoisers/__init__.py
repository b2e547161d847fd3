"""Denoisers: a file for each family with all that is known of it; here is which there are, and which presets.

Imports neither torch nor diffusers, so that a configuration can name them; `models` builds and loads them.
"""

from __future__ import annotations

from model.denoisers import cogvideox, hunyuan_video, ltx_video, svd, wan
from model.denoisers.base import Family, Preset

#: Every family by its name.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        svd.Svd(),
        cogvideox.CogVideoX(),
        hunyuan_video.HunyuanVideo(),
        wan.Wan(),
        ltx_video.LtxVideo(),
    )
}

#: The denoisers that can be trained, by name: full-size ones, with the architectures that were published with their
#: weights, and those named tiny, with the same parts and about a million parameters, which a CPU trains.
PRESETS: dict[str, Preset] = {preset.name: preset for family in FAMILIES.values() for preset in family.presets}


def family(name: str) -> Family:
    """The family called `name`; a `ValueError` names the known ones."""
    if name not in FAMILIES:
        raise ValueError(f"{name!r} is no family of denoisers; known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def preset(name: str) -> Preset:
    """The preset called `name`; a `ValueError` names the known ones."""
    if name not in PRESETS:
        raise ValueError(f"{name!r} is no model preset; known are {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
