"""The denoisers that can be trained: their architectures, and what each needs of its latents and its conditioning.

Numbers only; imports nothing heavy. `model.denoisers` builds and calls them. The full-size ones are `published`, those
named `-tiny` are `tiny`.
"""

from __future__ import annotations

from model.presets.base import FAMILIES, IMAGE_CONDITIONING, Preset
from model.presets.published import PUBLISHED
from model.presets.tiny import TINY

__all__ = ["FAMILIES", "IMAGE_CONDITIONING", "PRESETS", "Preset", "preset"]

PRESETS: dict[str, Preset] = {preset.name: preset for preset in PUBLISHED + TINY}


def preset(name: str) -> Preset:
    """The preset called `name`; a `ValueError` names the known ones."""
    if name not in PRESETS:
        raise ValueError(f"{name!r} is no model preset; known are {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
