"""`captions`: the text beside the footage, for every clip of a file. `footage.sidecars` knows which text counts."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from vid_assets.assets.asset import Asset, Check, Finding, Slice, Work
from vid_assets.digests import digest
from vid_assets.footage.identity import UNREADABLE
from vid_assets.footage.membership import is_hashed
from vid_assets.footage.sidecars import caption_of, read_listing
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row, Store

#: Bumped by hand with this file and `footage.sidecars`: which sidecar is whose caption, and how its text is read.
CAPTIONS_VERSION = "2"

_OWNERSHIP = ["video_id", "ingest_batch"]


def _sources(store: Store, batch: str) -> dict[str, Row]:
    """The source whose sidecars caption each video of a batch: its first present one that has any.

    A video that has no present source any more keeps the sidecars that it had.
    """
    return store.derived("sidecars", ("sources", "videos"), lambda: _all_sources(store)).get(batch, {})


def _all_sources(store: Store) -> dict[str, dict[str, Row]]:
    batch_of = {row["video_id"]: row["ingest_batch"] for row in store.read("videos", columns=_OWNERSHIP)}
    rows = [row for row in store.read("sources") if row["video_id"] in batch_of and is_hashed(row)]
    present = {row["video_id"] for row in rows if row["state"] == "present"}
    found: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["sidecars"] and (row["state"] == "present" or row["video_id"] not in present):
            found.setdefault(batch_of[row["video_id"]], {}).setdefault(row["video_id"], row)
    return found


def _may_be_read_later(row: Row) -> bool:
    """Whether the system would not give the text; what is wrong with a text itself stays so until it is changed."""
    return f": {UNREADABLE}: " in (row["error"] or "")


def _versions(source: Row | None) -> list[Any]:
    """What tells that a caption may have changed: its sidecars in their versions. Where they lie does not."""
    return [[_kind(car["uri"]), car["size_bytes"], car["etag"]] for car in source["sidecars"]] if source else []


def _kind(uri: str) -> str:
    return uri.rpartition(".")[2]


def captions(work: Work) -> Output:
    """A caption row for each clip: the text that counts for its file, NULL where there is none."""
    store, here = work.store, work.here
    sources = _sources(store, work.batch)
    clips = {row["clip_id"]: row["video_id"] for row in store.read("clips", here)}
    unread = {row["clip_id"] for row in store.read("captions", here) if _may_be_read_later(row)}
    wanted = {}
    for clip_id, video_id in clips.items():
        again = [datetime.now(UTC).isoformat()] if clip_id in unread else []
        wanted[clip_id] = digest([clip_id, _versions(sources.get(video_id)), CAPTIONS_VERSION, *again])
    listing = functools.cache(read_listing)  # one that captions many files is read once

    @functools.cache
    def caption(video_id: str) -> Row:
        source = sources.get(video_id)
        found = caption_of(source["uri"], source["sidecars"], listing) if source else None
        text = found.text if found else None
        return {
            "caption": text,
            "caption_key": hashlib.sha256(text.encode()).hexdigest() if text else None,
            "origin": found.origin if found else "none",
            "error": found.error if found else None,
        }

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            yield {"clip_id": clip_id, "ingest_batch": work.batch} | caption(clips[clip_id])

    output = sync_slice(store, "captions", here, wanted, compute, force=work.force)
    rows = store.read("captions", here, ["caption", "origin", "error"])
    output.retry = any(map(_may_be_read_later, rows))
    origins = sorted({row["origin"] for row in rows if row["caption"] is not None})
    output.facts |= {
        "with caption": sum(row["caption"] is not None for row in rows),
        "without caption": sum(row["caption"] is None for row in rows),
        "by origin": {name: sum(r["origin"] == name and r["caption"] is not None for r in rows) for name in origins},
        "unreadable": sorted({row["error"] for row in rows if row["error"]}),
    }
    return output


def _sidecars(work: Work) -> dict[str, str]:
    """Which sidecars, in which versions, caption each video of the batch. A rename of both changes nothing."""
    sources = _sources(work.store, work.batch)
    return {"sidecars": digest(sorted((video, _versions(source)) for video, source in sources.items()))}


def _read(work: Work, output: Output) -> Finding:
    """A warning that names the texts which cannot be read: their clips are in no training set."""
    unread = output.facts["unreadable"]
    words = f"{len(unread)} captions cannot be read, so that no training set takes their clips: {'; '.join(unread[:3])}"
    return Finding(not unread, words if unread else "every caption that is there can be read", {"unreadable": unread})


ASSET = Asset(
    "captions",
    group="encode",
    doc="The text of the sidecars of each file, for all its clips. No caption is a valid state.",
    kinds=frozenset({"file", "lancedb"}),
    partitions="batch",
    tables=("captions",),
    code_version=CAPTIONS_VERSION,
    upstream=("clips",),
    slices=(Slice(_sidecars, tables=("sources", "videos"), of_files=True),),
    slices_of=("source_files",),
    run=captions,
    checks=(
        Check(
            "captions_read",
            "Every text that lies beside footage can be read. Clips whose text cannot be are left out of training "
            "sets, rather than trained without it; mend the text, or take it away. A warning.",
            _read,
            blocking=False,
        ),
    ),
)
