"""Inputs that several assets share and that are no asset's whole output."""

from __future__ import annotations

from vid_assets.assets.asset import Slice, Work
from vid_assets.assets.queries import presence
from vid_assets.digests import digest


def _present(work: Work) -> dict[str, str]:
    batch = work.partition if work.asset.partitions == "batch" else None
    return {"present videos": digest(presence(work.store, batch))}


#: The videos (of the batch, or of all) that have a present source.
PRESENT = Slice(_present, tables=("sources", "videos"))
