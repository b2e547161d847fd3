"""What is measured on each frame. Belongs here: one class per group of statistics, fed frame by frame in time order.

Each keeps its own `timestamps` (seconds) and `stats` (name -> one value or None per timestamp). None is not measured.
"""

from __future__ import annotations

from collections.abc import Callable

from vid_assets.curation.measures.base import Measure
from vid_assets.curation.measures.change import Change
from vid_assets.curation.measures.light import Light
from vid_assets.curation.measures.looks import Hashes, Thumbnails
from vid_assets.curation.measures.motion import Motion
from vid_assets.curation.measures.transnet import TransNet

#: Group -> what makes its measure for one source. The group `proof` has none: it is the
#: decode's own account.
MEASURES: dict[str, Callable[[], Measure]] = {
    "light": Light,
    "change": Change,
    "motion": Motion,
    "hashes": Hashes,
    "thumbnails": Thumbnails,
    "transnet": TransNet,
}
