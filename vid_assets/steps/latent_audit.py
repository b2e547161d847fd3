"""The audit of a batch's latents: some are decoded and held against the frames that they were made from.

The same windows are audited each time, so that a change of the VAE, its settings or a decoder shows as a change of
their PSNR. What was found stands in `views/audit/<batch>.json` below the home, with what the same window had before
its latent changed; the pictures stand beside it. Nothing is decoded again while the audited latents stay as they are.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from vid_assets.errors import one_line
from vid_assets.project import Project
from vid_assets.steps.latent_plan import Planned
from vid_assets.store.state import digest

#: PSNR that differs by less than this is the same, dB.
_SAME_DB = 0.01


def audit(
    project: Project, batch: str, good: Mapping[str, Planned], fresh: Collection[str], vae: Any
) -> dict[str, Any]:
    """Audit `encoding.audit` of the latents `good` (by sample_id), again only where one of them is new or `fresh`.

    `vae` is an `encoding.vae.LazyVae`. Returns what is shown: how many latents, their median and lowest PSNR in dB, the
    medians of those that had another latent before, and what could not be audited. A failure here fails no encode.
    """
    chosen = _chosen(good.values(), project.config.encoding.audit)
    if not chosen:
        return {"latents": 0}
    sheet = sheet_path(project, batch)
    record = sheet.with_suffix(".json")
    known = _read(record)
    if not sheet.is_file() or any(_is_due(one, known.get(_window(one), {}), fresh) for one in chosen):
        known |= _measured(project, batch, chosen, known, vae, sheet)
        _write(record, json.dumps(known, indent=1, sort_keys=True).encode())
    return _summary([known[_window(one)] for one in chosen])


def _is_due(planned: Planned, entry: Mapping[str, Any], fresh: Collection[str]) -> bool:
    """Whether a window was not audited yet with the latent that it has."""
    sample_id = planned.parts.sample_id
    return "psnr" not in entry or entry["sample_id"] != sample_id or sample_id in fresh


def sheet_path(project: Project, batch: str) -> Path:
    """Where the pictures of a batch's audit are kept."""
    return project.folder("views", "audit") / f"{batch}.jpg"


def audit_view(project: Project, batch: str) -> dict[str, str]:
    """The sheet of the batch's last audit as Markdown by title; nothing where there is none."""
    from vid_assets.views.sheets import as_markdown

    sheet = sheet_path(project, batch)
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
    project: Project, batch: str, chosen: Sequence[Planned], known: Mapping[str, Any], vae: Any, sheet: Path
) -> dict[str, dict[str, Any]]:
    """An entry for each of the chosen windows; draws the sheet."""
    from vid_assets.encoding.frames import by_source, decoded
    from vid_assets.steps.latents import stored_latents, tasks_of
    from vid_assets.views.reconstructions import pair, reconstruction_sheet

    window_of = {one.parts.sample_id: _window(one) for one in chosen}
    stored = {row["sample_id"]: (row, payload) for row, payload in stored_latents(project, window_of)}
    entries: dict[str, dict[str, Any]] = {}
    pairs = []
    for tasks in by_source(tasks_of(project, chosen)):
        for task, frames in decoded(tasks):
            sample_id, bucket = task.parts.sample_id, task.window.bucket.name
            name = Path(task.source["uri"]).name
            words = f"{name} {task.window.start_s:.2f} s" if task.parts.fps else name
            try:
                if isinstance(frames, str):
                    raise ValueError(frames)
                entry, reconstruction = _compared(frames, stored.get(sample_id), vae)
                pairs.append((pair(frames, reconstruction), [f"{entry['psnr']:.1f} dB, {bucket}", words]))
            except (RuntimeError, ValueError, MemoryError) as error:
                entry = {"error": f"{words}: {one_line(error)}"}
            window = window_of[sample_id]
            entries[window] = {"sample_id": sample_id} | entry | _before(known.get(window, {}), entry)
    if pairs:
        _write(sheet, reconstruction_sheet(pairs, f"{batch}: source | reconstruction"))
    else:
        sheet.unlink(missing_ok=True)
    return entries


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


def _summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [entry["psnr"] for entry in entries if "psnr" in entry]
    changed = [(entry["psnr"], entry["before"]) for entry in entries if "psnr" in entry and "before" in entry]
    found: dict[str, Any] = {"latents": len(values)}
    if values:
        found |= {"median psnr": _median(values), "lowest psnr": round(min(values), 2)}
    if changed:
        now, then = zip(*changed)
        found |= {"changed": len(changed), "their median psnr": _median(now), "before": _median(then)}
    if errors := [entry["error"] for entry in entries if "error" in entry]:
        found["not audited"] = errors
    return found


def _median(values: Iterable[float]) -> float:
    found = round(statistics.median(values), 2)
    assert math.isfinite(found)
    return found


def _read(path: Path) -> dict[str, Any]:
    """The record of earlier audits; a damaged one counts as none, and is written anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
