"""What a clip is judged by: one file a subject, each with its metrics and their limits.

Another metric stands in one of these files, or in one of its own with a line in `_SUBJECTS`: the columns of
`clip_scores`, the section `policy` of the configuration and the rules follow from it. Metrics are computed from stored
statistics; they import nothing heavy, as the configuration knows their limits.
"""

from __future__ import annotations

from vid_assets.curation.metrics import (
    coding,
    integrity,
    interruptions,
    kept_area,
    light,
    montage,
    motion,
    size,
)
from vid_assets.curation.metrics.base import Metric, Rule

#: In the order in which a clip's failures are named.
_SUBJECTS = (
    integrity.METRICS,
    coding.METRICS,
    size.METRICS,
    interruptions.METRICS,
    light.METRICS,
    motion.METRICS,
    montage.METRICS,
    kept_area.METRICS,
)

#: Every metric by name: the columns of the table `clip_scores`.
METRICS: dict[str, Metric] = {metric.name: metric for subject in _SUBJECTS for metric in subject}
#: Every rule that a clip may break.
RULES: tuple[Rule, ...] = tuple(rule for metric in METRICS.values() for rule in metric.rules)
