"""The audit of a batch's latents: some are decoded and held against their footage, and so are the frames themselves.

The same windows are audited each time, so that a change of the VAE, its settings or a decoder shows as a change of
their PSNR. The frames that they were made from are read a second time in another way: a decoder that shows other frames
than it is asked for says nothing of it. What was found stands in `views/audit/<batch>.json` below the home, with what
the same window had before its latent changed; the pictures stand beside it. Nothing is decoded again while the audited
latents stay as they are.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from model.errors import first_line
from vid_assets.assets.encode.latent_plan import Planned
from vid_assets.assets.encode.latent_work import tasks_of
from vid_assets.assets.encode.stored_latents import stored_latents
from vid_assets.assets.facts import Facts, fact
from vid_assets.digests import digest
from vid_assets.store.memo import recall, remember
from vid_assets.store.place import Files
from vid_assets.store.tables import Store
from vid_assets.views.markdown import as_markdown

#: PSNR that differs by less than this is the same, dB.
_SAME_DB = 0.01
#: Frames that are read in two ways are the same from this PSNR on, dB: two conversions to RGB differ by less.
_SAME_FRAME_DB = 32.0


@dataclass(frozen=True)
class Audit(Facts):
    """What an audit found: how many latents were decoded, and their PSNR in dB.

    `other_frames` are those whose frames are others when they are read in another way, in words. `changed` of them had
    another latent before; `changed_median` is what they have now, `before` what they had.
    """

    latents: int = fact("latents")
    median: float | None = fact("median psnr")
    lowest: float | None = fact("lowest psnr")
    changed: int | None = fact("changed")
    changed_median: float | None = fact("their median psnr")
    before: float | None = fact("before")
    not_audited: list[str] | None = fact("not audited")
    other_frames: list[str] | None = fact("other frames")


def audit(
    store: Store,
    folder: Path,
    batch: str,
    good: Mapping[str, Planned],
    fresh: Collection[str],
    vae: Any,
    count: int,
) -> Audit:
    """Audit `count` of the latents `good` (by sample_id), again only where one of them is new or `fresh`.

    `folder` keeps what was found; `vae` is an `encoding.vae.LazyVae`.
    """
    chosen = _chosen(good.values(), count)
    if not chosen:
        return Audit(latents=0)
    sheet, record = _sheet(folder, batch), folder / f"{batch}.json"
    known = recall(record)
    known = known if isinstance(known, dict) else {}
    if not sheet.is_file() or any(_is_due(one, known.get(_window(one), {}), fresh) for one in chosen):
        known |= _measured(store, batch, chosen, known, vae, sheet)
        remember(record, known)
    return _summary([known[_window(one)] for one in chosen])


def _is_due(planned: Planned, entry: Mapping[str, Any], fresh: Collection[str]) -> bool:
    """Whether a window was not audited yet with the latent that it has."""
    sample_id = planned.parts.sample_id
    return "psnr" not in entry or "frames" not in entry or entry["sample_id"] != sample_id or sample_id in fresh


def _sheet(folder: Path, batch: str) -> Path:
    return folder / f"{batch}.jpg"


def audit_view(folder: Path, batch: str) -> dict[str, str]:
    """The sheet of the batch's last audit as Markdown by title; nothing where there is none."""
    sheet = _sheet(folder, batch)
    return {"source | reconstruction": as_markdown(sheet.read_bytes(), batch)} if sheet.is_file() else {}


def _window(planned: Planned) -> str:
    """What a window is called, whatever latent it has."""
    parts = planned.parts
    return f"{parts.source_hash}/{parts.start_s:.6f}/{planned.window.bucket.name}"


def _chosen(planned: Iterable[Planned], count: int) -> list[Planned]:
    """Some windows, in turn of each bucket; the same ones whatever their latents are, and mostly as a batch grows."""
    by_bucket: dict[str, list[tuple[str, Planned]]] = {}
    for one in planned:
        by_bucket.setdefault(one.window.bucket.name, []).append((digest(_window(one)), one))
    columns = [sorted(ones, key=lambda pair: pair[0]) for _, ones in sorted(by_bucket.items())]
    turns = [pair[1] for row in zip_longest(*columns) for pair in row if pair is not None]
    return turns[:count]


def _measured(
    store: Store, batch: str, chosen: Sequence[Planned], known: Mapping[str, Any], vae: Any, sheet: Path
) -> dict[str, dict[str, Any]]:
    """An entry for each of the chosen windows; draws the sheet."""
    from vid_assets.encoding.frames import by_source, decoded
    from vid_assets.footage.decode import other_route
    from vid_assets.views.reconstructions import pair, reconstruction_sheet

    window_of = {one.parts.sample_id: _window(one) for one in chosen}
    stored = {row["sample_id"]: (row, payload) for row, payload in stored_latents(store, window_of)}
    entries: dict[str, dict[str, Any]] = {}
    pairs = []
    for tasks in by_source(tasks_of(store, chosen)):
        again = [replace(task, route=other_route(task.route)) for task in tasks]
        seen = {task.parts.sample_id: frames for task, frames in decoded(again)}
        for task, frames in decoded(tasks):
            sample_id, bucket = task.parts.sample_id, task.window.bucket.name
            name = Path(task.source["uri"]).name
            words = f"{name} {task.window.start_s:.2f} s" if task.parts.fps else name
            try:
                if isinstance(frames, str):
                    raise ValueError(frames)
                entry, reconstruction = _compared(frames, stored.get(sample_id), vae)
                entry["frames"] = _difference(frames, seen[sample_id], words)
                pairs.append((pair(frames, reconstruction), [f"{entry['psnr']:.1f} dB, {bucket}", words]))
            except (RuntimeError, ValueError, MemoryError) as error:
                entry = {"error": f"{words}: {first_line(error)}"}
            window = window_of[sample_id]
            entries[window] = {"sample_id": sample_id} | entry | _before(known.get(window, {}), entry)
    if pairs:
        Files(str(sheet.parent)).write(sheet.name, reconstruction_sheet(pairs, f"{batch}: source | reconstruction"))
    else:
        sheet.unlink(missing_ok=True)
    return entries


def _difference(frames: Any, again: Any, words: str) -> str | None:
    """In words, how frames differ from the same ones read in another way; None where they do not."""
    from vid_assets.views.reconstructions import psnr

    if isinstance(again, str):
        return f"{words}: read in another way, {again}"
    worst = min(psnr(one, other) for one, other in zip(frames, again, strict=True))
    return None if worst >= _SAME_FRAME_DB else f"{words}: another way of reading shows other frames ({worst:.1f} dB)"


def _compared(frames: Any, stored: tuple[dict[str, Any], bytes] | None, vae: Any) -> tuple[dict[str, Any], Any]:
    """The entry of one window, and the frames that its latent decodes to."""
    from vid_assets.encoding.rows import from_bytes
    from vid_assets.views.reconstructions import psnr

    if stored is None:
        raise ValueError("its latent cannot be read")
    row, payload = stored
    reconstruction = vae.decode(from_bytes(payload, row["dtype"], row["shape"]))
    if reconstruction.shape != frames.shape:
        raise ValueError(f"decoded to {reconstruction.shape}, where the source has {frames.shape}")
    return {"psnr": round(psnr(frames, reconstruction), 3)}, reconstruction


def _before(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, float]:
    """The PSNR that a window had before it changed last."""
    was = old.get("psnr")
    if was is not None and "psnr" in new and abs(was - new["psnr"]) > _SAME_DB:
        return {"before": was}
    return {"before": old["before"]} if "before" in old else {}


def _summary(entries: Sequence[Mapping[str, Any]]) -> Audit:
    values = [entry["psnr"] for entry in entries if "psnr" in entry]
    changed = [(entry["psnr"], entry["before"]) for entry in entries if "psnr" in entry and "before" in entry]
    now, then = zip(*changed) if changed else ((), ())
    return Audit(
        latents=len(values),
        median=_median(values),
        lowest=round(min(values), 2) if values else None,
        changed=len(changed) or None,
        changed_median=_median(now),
        before=_median(then),
        not_audited=[entry["error"] for entry in entries if "error" in entry] or None,
        other_frames=[entry["frames"] for entry in entries if entry.get("frames")] or None,
    )


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    found = round(statistics.median(values), 2)
    assert math.isfinite(found)
    return found
