"""`source_files`: list the sources, place new files in batches, tombstone what is gone. Reads renamed files only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vid_assets.footage.identity import file_hash
from vid_assets.footage.listing import FoundFile, FoundFiles, Sidecar, list_sources, version_now
from vid_assets.footage.membership import Membership, diff_membership, seen_version
from vid_assets.project import Project
from vid_assets.stage_inputs import batches
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row

_LISTED = ("uri", "size_bytes", "etag", "ingest_batch", "state", "sidecars")


def listing_digest(found: FoundFiles) -> str:
    """Hash of what a listing shows."""
    return digest([[(f.uri, f.size_bytes, f.etag, [(s.uri, s.etag) for s in f.sidecars]) for f in found], found.strays])


def plan(project: Project, found: list[FoundFile], confirm: bool = False) -> Membership:
    """What `found` would change in the table `sources`; writes nothing."""
    known = project.store.read("sources")
    return diff_membership(known, found, project.config.batching, remembered_hash(project), confirm)


def register(project: Project, found: list[FoundFile], confirm: bool = False) -> Membership:
    """Write what `found` changes in the table `sources`, in one commit."""
    diff = plan(project, found, confirm)
    now = datetime.now(UTC)
    project.store.upsert("sources", [{"created_at": now} | row for row in diff.rows])
    return diff


def source_files(project: Project, found: FoundFiles, confirm: bool = False) -> Output:
    """Bring the table `sources` in line with a listing."""
    diff = register(project, found, confirm)
    rows = listed_rows(project)
    version = digest(rows)
    present = sum(row["state"] == "present" for row in rows)
    return Output(
        version,
        version,
        rows=len(rows),
        computed=len(diff.rows),
        cached=len(rows) - len(diff.rows),
        facts={
            "present": present,
            "batches": batches(project),
            "new batches": diff.new_batches,
            "added": len(diff.added),
            "changed": len(diff.changed),
            "recaptioned": len(diff.recaptioned),
            "renamed": len(diff.renamed),
            "removed": len(diff.removed),
            "captions without a file": {uri: _some(paths) for uri, paths in found.strays.items()},
            "bytes": sum(row["size_bytes"] for row in rows if row["state"] == "present"),
        },
    )


def _some(paths: list[str]) -> list[str]:
    """The first few, for people."""
    return paths[:5] + ([f"and {len(paths) - 5} more"] if len(paths) > 5 else [])


def listed_rows(project: Project) -> list[Row]:
    """The part of `sources` that a listing determines."""
    return project.store.read("sources", "state <> 'replaced'", _LISTED)


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the output."""
    return digest(listed_rows(project))


def list_files(project: Project) -> FoundFiles:
    """The listing of the configured sources as it is. Raises `ListingError`."""
    return list_sources(project.config.sources)


def settled_files(project: Project) -> FoundFiles:
    """The listing, without what may still be growing: such a file is as it was when it was last taken, or not there.

    A file may be growing if it was written less than `ingest.settle_s` seconds ago. Objects of a store appear whole.
    """
    known = {row["uri"]: row for row in project.store.read("sources", "state = 'present'")}
    files, listed = [], list_files(project)
    for file in listed:
        if not _may_grow(project, file, known):
            files.append(file)
        elif file.uri in known:
            files.append(as_known(known[file.uri]))
    return FoundFiles(files, listed.strays)


def settling(project: Project) -> list[str]:
    """The files that `settled_files` leaves for later."""
    known = {row["uri"]: row for row in project.store.read("sources", "state = 'present'")}
    return [file.uri for file in list_files(project) if _may_grow(project, file, known)]


def _may_grow(project: Project, file: FoundFile, known: Mapping[str, Row]) -> bool:
    if file.uri in known and seen_version(known[file.uri]) == f"{file.size_bytes}:{file.etag}":
        return False
    name, _, written = file.etag.partition(":")
    return name == "mtime" and 0 <= time.time() - float(written) < project.config.ingest.settle_s


def as_known(row: Mapping[str, Any]) -> FoundFile:
    """A present source as the listing showed it when it was taken."""
    sidecars = tuple(Sidecar(**car) for car in row["sidecars"] or ())
    return FoundFile(row["uri"], row["size_bytes"], seen_version(row).partition(":")[2], sidecars)


def remembered_hash(project: Project) -> Callable[[str], str]:
    """`file_hash` that reads a file in one version once: a listing may ask for it again and again."""

    def hashed(uri: str) -> str:
        version = version_now(uri)
        path = project.folder("state", "hashes") / f"{digest(uri)[:24]}.json"
        try:
            kept = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            kept = {}
        if kept.get("version") != version:
            kept = {"version": version, "hash": file_hash(uri)}
            temporary = path.with_suffix(f".tmp-{os.getpid()}")
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(path)
        return kept["hash"]

    return hashed
