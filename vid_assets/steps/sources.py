"""`source_files`: list the sources, place new files in batches, tombstone what is gone. Reads renamed files only."""

from __future__ import annotations

from datetime import UTC, datetime

from vid_assets.footage.identity import file_hash
from vid_assets.footage.listing import FoundFile, list_sources
from vid_assets.footage.membership import Membership, diff_membership
from vid_assets.project import Project
from vid_assets.stages import batches
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row

_LISTED = ("uri", "size_bytes", "etag", "ingest_batch", "state", "sidecars")


def listing_digest(found: list[FoundFile]) -> str:
    """Hash of what a listing shows."""
    return digest([(f.uri, f.size_bytes, f.etag, [(s.uri, s.etag) for s in f.sidecars]) for f in found])


def plan(project: Project, found: list[FoundFile], confirm: bool = False) -> Membership:
    """What `found` would change in the table `sources`; writes nothing."""
    known = project.store.read("sources")
    return diff_membership(known, found, project.config.batching, file_hash, confirm)


def register(project: Project, found: list[FoundFile], confirm: bool = False) -> Membership:
    """Write what `found` changes in the table `sources`, in one commit."""
    diff = plan(project, found, confirm)
    now = datetime.now(UTC)
    project.store.upsert("sources", [{"created_at": now} | row for row in diff.rows])
    return diff


def source_files(project: Project, found: list[FoundFile], confirm: bool = False) -> Output:
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
            "bytes": sum(row["size_bytes"] for row in rows if row["state"] == "present"),
        },
    )


def listed_rows(project: Project) -> list[Row]:
    """The part of `sources` that a listing determines."""
    rows = project.store.read("sources", "state <> 'replaced'", list(_LISTED))
    return [{name: row[name] for name in _LISTED} for row in rows]


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the output."""
    return digest(listed_rows(project))


def list_files(project: Project) -> list[FoundFile]:
    """The listing of the configured sources. Raises `ListingError`."""
    return list_sources(project.config.sources)
