"""Rendered videos whose cuts, transitions and defects are known. Belongs here: what such a video says of itself.

Every class of fixture has variants in two halves with other seeds, pictures, sizes, codecs and rates: thresholds are
chosen on `tuning` alone, and the tests hold the results on `held_out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["tuning", "held_out"]


@dataclass(frozen=True)
class Fixture:
    """One rendered file and its labels, in numbers of frames in presentation order, from 0.

    kind: the class of the fixture. cuts: first frame of each new shot. transitions: first and last frame that show
    both shots, or that are faded. defects: kind of defect -> first and last frame of each stretch that has it.
    """

    name: str
    path: Path
    kind: str
    split: Split
    fps: float
    frames: int
    cuts: tuple[int, ...] = ()
    transitions: tuple[tuple[int, int], ...] = ()
    defects: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
