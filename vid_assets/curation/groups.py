"""The groups of statistics: their versions, and what one group of one source holds. Light: imports no decoder.

A group has a version, to be bumped by hand whenever what it holds changes; what each holds is in `measures`.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field

from vid_assets.curation.settings import Shots

#: Long side of the picture that all measures but sharpness read, in pixels. Smaller sources keep their size.
LONG_SIDE = 320
#: A row or column with no pixel brighter than the first may belong to a letterbox bar; one with a pixel brighter
#: than the second does not.
BAR_LUMA = 10
EDGE_LUMA = 40

#: A column of values by name, a value or None for each timestamp.
Columns = dict[str, list[float | None]]

#: Group name -> version.
GROUPS: dict[str, str] = {
    "proof": "2",
    "packets": "1",
    "light": "2",
    "change": "2",
    "motion": "2",
    "hashes": "2",
    "thumbnails": "2",
}
#: Groups of which no shot and no score is made.
APART = ("packets", "thumbnails")
#: Group name -> version, of those measured only where the config asks for them.
OPTIONAL_GROUPS: dict[str, str] = {"transnet": "1"}
#: All groups; iteration begins with `GROUPS`.
ALL_GROUPS: ChainMap[str, str] = ChainMap(OPTIONAL_GROUPS, GROUPS)


def wanted_groups(config: Shots) -> dict[str, str]:
    """Group name -> version, of the groups that every source is measured in under `config`."""
    return GROUPS | OPTIONAL_GROUPS if config.splitter == "transnet" else dict(GROUPS)


@dataclass
class GroupStats:
    """One group of statistics of one source.

    `timestamps` are seconds on the file's own presentation clock, ascending; each list in `stats` has one value, or
    None for not measured, per timestamp. The fields from `decoded_ratio` to `packet_hash` belong to the group
    `proof` and are None in the others:

    - decoded_ratio: decoded frames over those that the header claims; where it claims no number, over the packets,
      or the decoded time over the claimed duration, whichever is less.
    - corrupt_frames: frames that may show damage (`stats["corrupt"]`).
    - packet_errors: packets that are flagged as damaged, or that the decoder refused.
    - packet_hash: SHA-256 (hex) of the packets of the stream; of the upright pixels for a still.

    The group `packets` has one value each: how many packets the stream has (`packets`), and how many of them are
    `discarded`, `untimed` and `misplaced` (`footage.reader.VideoReader`).

    `miniatures` is what `curation.miniatures.pack` makes of a tiny picture of every frame, in the group `change` alone.

    `log` is what the decoders had to say, a few lines, each with its count. `hit_limit` and `limit_value` say which of
    `config.Decoding` stopped the reading, and what it was then.

    `status` of the proof is `failed` unless every frame decodes without a sign of damage; of another group, when
    nothing could be measured.
    """

    group: str
    version: str
    timestamps: list[float] = field(default_factory=list)
    stats: Columns = field(default_factory=dict)
    thumbnails: list[tuple[float, bytes]] = field(default_factory=list)
    miniatures: bytes | None = None
    decoded_ratio: float | None = None
    corrupt_frames: int | None = None
    packet_errors: int | None = None
    packet_hash: str | None = None
    status: str = "ok"
    error: str | None = None
    hit_limit: str | None = None
    limit_value: float | None = None
    log: str | None = None
