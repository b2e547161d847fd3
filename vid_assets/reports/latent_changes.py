"""What a change would encode again, row by row and why: planned keys held against the stored ones of the same window.

Nothing is decoded, encoded or written. The plan rests on the tables as they are: where an input is not up to date,
`Changes.unsettled` says so, since its windows may still change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from vid_assets.assets.encode.latent_plan import Planned, latent_settings, plan_latents
from vid_assets.assets.encode.latents import ASSET as LATENTS
from vid_assets.assets.queries import batches
from vid_assets.assets.weights import weights_of
from vid_assets.encoding.content_key import LatentParts
from vid_assets.project import Project
from vid_assets.reports.staleness import SETTLED, standings
from vid_assets.store.tables import Row, Store, equals

#: Parts that say which window it is; the others say how its latent is made.
_WINDOW = ("source_hash", "start_s", "fps", "frames", "height", "width")
#: The other parts in words. Those without an arrow are told without their values, which differ from row to row.
_WORDS = {
    "stream_index": "video stream",
    "rotation": "rotation",
    "clock": "times of its frames",
    "transform": "crop, aspect or resize",
    "decoder": "decoder",
    "vae": "VAE family",
    "weights_hash": "VAE weights",
    "posterior": "posterior",
    "dtype": "stored dtype",
    "code_version": "code version",
}
_WITHOUT_VALUES = ("clock", "transform")
_PARTS = tuple(field.name for field in fields(LatentParts))


@dataclass(frozen=True)
class StaleRow:
    """A window whose latent would be computed, and why: each way in which it differs from what is stored."""

    batch: str
    sample: str
    video_id: str
    start_s: float
    bucket: str
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """All reasons, as one."""
        return ", ".join(self.reasons)


@dataclass
class Changes:
    """How many latents there should be, which of them would be computed, and what is not known yet."""

    planned: int = 0
    rows: list[StaleRow] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """How many rows there are for each reason, the most first."""
        return Counter(row.reason for row in self.rows).most_common()


def latent_changes(project: Project) -> Changes:
    """What the next run of `latents` would compute, with the configuration, weights and code as they are now."""
    found = Changes()
    for one in standings(project, [*LATENTS.slices_of, *LATENTS.upstream]):
        if one.condition not in SETTLED:
            found.unsettled.append(f"{one.name} is {one.condition}: {'; '.join(one.reasons)}")
    store, settings = project.store, latent_settings(project.config)
    weights = weights_of(project.local, project.config.vae)
    for batch in batches(store):
        planned = {one.parts.sample_id: one for one in plan_latents(store, batch, settings, weights.hash).latents}
        found.planned += len(planned)
        found.rows += _stale(store, batch, planned)
    return found


def _stale(store: Store, batch: str, planned: Mapping[str, Planned]) -> Iterable[StaleRow]:
    stored = _stored(store, {one.parts.source_hash for one in planned.values()})
    good = {row["sample_id"] for rows in stored.values() for row in rows if row["status"] == "ok"}
    missing = [one for sample_id, one in planned.items() if sample_id not in good]
    if not missing:
        return
    listed = {row["sample_id"] for row in store.read("samples", equals("ingest_batch", batch), ["sample_id"])}
    for one in missing:
        reasons = _reasons(one.parts, stored.get(one.parts.source_hash, []), listed, one.window.bucket.name)
        parts = one.parts
        yield StaleRow(batch, one.row_id, parts.source_hash, parts.start_s, one.window.bucket.name, tuple(reasons))


def _stored(store: Store, sources: Iterable[str]) -> dict[str, list[Row]]:
    """The latents of each source, without their bytes."""
    found: dict[str, list[Row]] = {}
    for row in store.read_many("latents", "source_hash", sources, ["sample_id", "status", "error", *_PARTS]):
        found.setdefault(row["source_hash"], []).append(row)
    return found


def _reasons(parts: LatentParts, stored: list[Row], listed: set[str], bucket: str) -> list[str]:
    """Why a window has no good latent under its key, given all that is stored of its source."""
    if not stored:
        return ["new footage"]
    planned = asdict(parts)
    same_window = [row for row in stored if all(row[name] == planned[name] for name in _WINDOW)]
    if not same_window:
        in_bucket = any(all(row[name] == planned[name] for name in _WINDOW[2:]) for row in stored)
        return ["another window of its clip"] if in_bucket else [f"new bucket {bucket}"]
    # The one in use, else the one that differs least
    nearest = min(same_window, key=lambda row: (row["sample_id"] not in listed, len(_differences(row, planned))))
    return _differences(nearest, planned) or [f"it failed: {nearest['error']}"]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for name in _PARTS:
        if old[name] == new[name]:
            continue
        if name == "encode_settings":
            found += _setting_differences(old[name], new[name])
        elif name in _WITHOUT_VALUES:
            found.append(_WORDS[name])
        else:
            found.append(f"{_WORDS[name]} ({_short(old[name])} -> {_short(new[name])})")
    return found


def _setting_differences(old: str, new: str) -> list[str]:
    """The settings of the VAE that differ, by name."""
    before, after = json.loads(old), json.loads(new)
    return [
        f"VAE {name} ({_short(before.get(name))} -> {_short(after.get(name))})"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _short(value: Any) -> str:
    """A value as text; a long hash by its beginning."""
    text = str(value)
    return text[:8] if len(text) == 64 else text
