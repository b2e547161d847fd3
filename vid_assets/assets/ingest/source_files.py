"""`source_files`: list the sources, place new files in batches, tombstone what is gone. Reads renamed files only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vid_assets.assets.asset import Asset, Slice, Work
from vid_assets.assets.facts import Facts, fact
from vid_assets.assets.queries import batches
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.footage.identity import file_hash
from vid_assets.footage.listing import FoundFile, FoundFiles, ListingError, Sidecar, list_sources, version_now
from vid_assets.footage.membership import Membership, ShrunkListingError, diff_membership, seen_version
from vid_assets.footage.settings import Batching, SourceFolder
from vid_assets.section import part
from vid_assets.store.cache import Output
from vid_assets.store.memo import remembered_hash
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Row, Store

#: Bumped by hand with this file, `footage.listing` and `footage.membership`: which file belongs to which batch, with
#: which sidecars.
SOURCES_VERSION = "2"

_LISTED = ("uri", "size_bytes", "etag", "ingest_batch", "state", "sidecars")


@dataclass(frozen=True)
class Listed(Facts):
    """What a listing showed, and what it changed: numbers of files."""

    present: int = fact("present")
    batches: list[str] = fact("batches")
    new_batches: list[str] = fact("new batches")
    added: int = fact("added")
    changed: int = fact("changed")
    recaptioned: int = fact("recaptioned")
    renamed: int = fact("renamed")
    removed: int = fact("removed")
    strays: dict[str, list[str]] = fact("captions without a file")
    bytes: int = fact("bytes")


def source_files(work: Work) -> Output:
    """Bring the table `sources` in line with the listing."""
    found = _listing(work)
    batching = work.runtime["batching"]
    diff = register(work.store, work.local, batching, found, confirm=work.options.get("confirm", False))
    rows = listed_rows(work.store)
    version = digest(rows)
    present = sum(row["state"] == "present" for row in rows)
    return Output(
        version,
        version,
        rows=len(rows),
        computed=len(diff.rows),
        cached=len(rows) - len(diff.rows),
        facts=Listed(
            present=present,
            batches=batches(work.store),
            new_batches=diff.new_batches,
            added=len(diff.added),
            changed=len(diff.changed),
            recaptioned=len(diff.recaptioned),
            renamed=len(diff.renamed),
            removed=len(diff.removed),
            strays={uri: _some(paths) for uri, paths in found.strays.items()},
            bytes=sum(row["size_bytes"] for row in rows if row["state"] == "present"),
        ).shown(),
    )


def _some(paths: list[str]) -> list[str]:
    """The first few, for people."""
    return paths[:5] + ([f"and {len(paths) - 5} more"] if len(paths) > 5 else [])


def _listing(work: Work) -> FoundFiles:
    """The listing, made once for the fingerprint and the work."""
    if "listing" not in work.left:
        work.left["listing"] = settled_files(work.store, work.runtime["sources"], work.runtime["ingest"].settle_s)
    return work.left["listing"]


def _listed(work: Work) -> dict[str, str]:
    found = _listing(work)
    shown = [(f.uri, f.size_bytes, f.etag, [(s.uri, s.etag) for s in f.sidecars]) for f in found]
    return {"listing": digest([shown, found.strays])}


def _changes(work: Work) -> list[str]:
    """How the sources differ from what was seen of them last, in words."""
    try:
        diff = difference(work.store, work.local, work.runtime["batching"], _listing(work))
    except (ListingError, ShrunkListingError) as error:
        return [str(error)]
    counts = {
        "new": len(diff.added),
        "changed": len(diff.changed),
        "renamed": len(diff.renamed),
        "removed": len(diff.removed),
        "with another caption": len(diff.recaptioned),
    }
    return [f"{count} files {what}" for what, count in counts.items() if count]


def _verify(work: Work, state: AssetState) -> str:
    return digest(listed_rows(work.store))


def listed_rows(store: Store) -> list[Row]:
    """The part of `sources` that a listing determines."""
    return store.read("sources", "state <> 'replaced'", _LISTED)


def difference(
    store: Store, local: Path, batching: Batching, found: list[FoundFile], confirm: bool = False
) -> Membership:
    """What `found` would change in the table `sources`; writes nothing. Raises `ShrunkListingError`.

    Args:
        local: the local folder of the home, where the hashes of files are remembered.
        found: a listing.
        confirm: accept that more than half of the known files are gone.
    """
    return diff_membership(store.read("sources"), found, batching, remembered_file_hash(local), confirm)


def register(
    store: Store, local: Path, batching: Batching, found: list[FoundFile], confirm: bool = False
) -> Membership:
    """Write what `found` changes in the table `sources`, in one commit; arguments as of `difference`."""
    diff = difference(store, local, batching, found, confirm)
    now = datetime.now(UTC)
    store.upsert("sources", [{"created_at": now} | row for row in diff.rows])
    return diff


def settled_files(store: Store, sources: Sequence[SourceFolder], settle_s: float) -> FoundFiles:
    """The listing, without what may still be growing: such a file is as it was when it was last taken, or not there.

    A file may be growing if it was written less than `settle_s` seconds ago. Objects of a store appear whole. Raises
    `ListingError`.
    """
    known = _known(store)
    files, listed = [], list_sources(sources)
    for file in listed:
        if not _may_grow(file, known, settle_s):
            files.append(file)
        elif file.uri in known:
            files.append(as_known(known[file.uri]))
    return FoundFiles(files, listed.strays)


def settling(store: Store, sources: Sequence[SourceFolder], settle_s: float) -> list[str]:
    """The files that `settled_files` leaves for later."""
    known = _known(store)
    return [file.uri for file in list_sources(sources) if _may_grow(file, known, settle_s)]


def _known(store: Store) -> dict[str, Row]:
    return {row["uri"]: row for row in store.read("sources", "state = 'present'")}


def _may_grow(file: FoundFile, known: Mapping[str, Row], settle_s: float) -> bool:
    if file.uri in known and seen_version(known[file.uri]) == f"{file.size_bytes}:{file.etag}":
        return False
    name, _, written = file.etag.partition(":")
    return name == "mtime" and 0 <= time.time() - float(written) < settle_s


def as_known(row: Mapping[str, Any]) -> FoundFile:
    """A present source as the listing showed it when it was taken."""
    sidecars = tuple(Sidecar(**car) for car in row["sidecars"] or ())
    return FoundFile(row["uri"], row["size_bytes"], seen_version(row).partition(":")[2], sidecars)


def remembered_file_hash(local: Path) -> Callable[[str], str]:
    """`file_hash` that reads a file in one version once: a listing may ask for it again and again."""

    def hashed(uri: str) -> str:
        memo = local / "state" / "hashes" / f"{digest(uri)[:24]}.json"
        return remembered_hash(memo, {"version": version_now(uri)}, lambda: file_hash(uri))

    return hashed


def _runtime(config: Config, partition: str | None) -> dict[str, Any]:
    """The sources enter by what is listed there; how new files are grouped concerns new files alone."""
    return {
        "sources": config.sources,
        "batching": config.batching,
        "ingest": part(config.ingest, "settle_s"),
    }


ASSET = Asset(
    "source_files",
    group="ingest",
    doc="Lists the sources with their captions, and places new files in ingest batches. Reads no footage.",
    kinds=frozenset({"file", "lancedb"}),
    tables=("sources",),
    code_version=SOURCES_VERSION,
    slices=(Slice(_listed, tables=("sources",)),),
    runtime=_runtime,
    run=source_files,
    verify=_verify,
    changes=_changes,
    forms_batches=True,
    options={"confirm": "accept a listing that lost more than half of the known files"},
    automatic=lambda config: False,  # a listing is no asset whose change could start it; the sensor lists
)
