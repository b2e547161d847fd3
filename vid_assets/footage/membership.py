"""Which file belongs to which ingest batch: the difference between what was known and what a listing shows.

Pure functions over rows of the table `sources`. A batch is formed when its files are first seen and never regrouped:
a replaced file keeps its uri's batch, a renamed one keeps its content's batch, a removed one stays as a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.errors import UserError
from vid_assets.footage.identity import unreadable_id
from vid_assets.footage.listing import FoundFile
from vid_assets.footage.settings import Batching

Row = dict[str, Any]


class ShrunkListingError(UserError, RuntimeError):
    """More than half of the known files are gone; the listing is refused unless it is confirmed."""


@dataclass
class Membership:
    """What a listing changes: the rows to write, and what happened, by uri."""

    rows: list[Row] = field(default_factory=list)
    new_batches: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    recaptioned: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def file_version(row: Mapping[str, Any]) -> str:
    """The version of a file under which its content was first seen: its size and its etag."""
    return f"{row['size_bytes']}:{row['etag']}"


def seen_version(row: Mapping[str, Any]) -> str:
    """The version that the listing last showed: a later one where the same bytes were written again."""
    return row["hashed_version"] if is_hashed(row) else file_version(row)


def is_hashed(row: Mapping[str, Any]) -> bool:
    """Whether `video_id` is that of the file as it is now."""
    return row["video_id"] is not None and row["hashed_version"] is not None


def present_videos(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The videos that can be opened now: video_id -> its present sources, the owner's first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["state"] == "present" and is_hashed(row):
            found.setdefault(row["video_id"], []).append(row)
    return found


def diff_membership(
    known: Sequence[Row],
    found: Sequence[FoundFile],
    batching: Batching,
    file_hash: Callable[[str], str],
    confirm: bool = False,
) -> Membership:
    """Compare a listing with the known sources and place every new file in a batch.

    `file_hash` is asked only for a new uri whose size equals that of a vanished one, which may be a rename, and for a
    known one that was written again at its size: where the bytes are the same, nothing but its version changes.
    Raises `ShrunkListingError` when more than half of the present files vanished and `confirm` is not set.
    """
    by_uri = {row["uri"]: row for row in known if row["state"] != "replaced"}
    listed = {file.uri: file for file in found}
    present = [row for row in by_uri.values() if row["state"] == "present"]
    vanished = [row for row in by_uri.values() if row["uri"] not in listed]
    missing = [row for row in vanished if row["state"] == "present"]
    if len(missing) * 2 > len(present) and len(present) > 1 and not confirm:
        renames = _renames(missing, [f for f in found if f.uri not in by_uri], file_hash)
        if (len(missing) - len(renames)) * 2 > len(present):
            raise ShrunkListingError(
                f"{len(missing)} of {len(present)} known files are gone from the listing, {missing[0]['uri']} among "
                f"them. If a disk is not mounted, mount it. If they were removed on purpose, run `vid-assets scan "
                f"--confirm`. Nothing was changed."
            )
    diff = Membership()
    new: list[FoundFile] = []
    for file in found:
        row = by_uri.get(file.uri)
        if row is None:
            new.append(file)
            continue
        version = f"{file.size_bytes}:{file.etag}"
        updated = row | _facts(file) | {"state": "present"}
        same = version == seen_version(row)
        if same or _same_bytes(row, file, file_hash):
            updated |= {"etag": row["etag"], "hashed_version": version if is_hashed(row) else None}
        else:
            updated["hashed_version"] = None
        if updated != row:
            diff.rows.append(updated)
            if (updated["hashed_version"] is None and not same) or row["state"] != "present":
                diff.changed.append(file.uri)
            elif updated["sidecars"] != row["sidecars"]:
                diff.recaptioned.append(file.uri)
            else:
                diff.rewritten.append(file.uri)
    moved = _renames(vanished, new, file_hash)
    for file in new:
        if file.uri in moved:
            old = moved[file.uri]
            row = old | _facts(file) | {"uri": file.uri, "state": "present"}
            diff.rows.append(row | {"hashed_version": file_version(row) if old["video_id"] else None})
            diff.renamed.append((old["uri"], file.uri))
    for row in missing:
        diff.rows.append(row | {"state": "removed"})
        if row["uri"] not in {old for old, _ in diff.renamed}:
            diff.removed.append(row["uri"])
    fresh = [file for file in new if file.uri not in moved]
    number = max((int(row["ingest_batch"][1:]) for row in known), default=0)
    for batch in _batches(fresh, batching):
        number += 1
        name = f"b{number:05d}"
        diff.new_batches.append(name)
        for file in batch:
            diff.rows.append(
                _facts(file)
                | {"uri": file.uri, "video_id": None, "hashed_version": None, "ingest_batch": name, "state": "present"}
            )
            diff.added.append(file.uri)
    return diff


def _facts(file: FoundFile) -> Row:
    sidecars = [{"uri": s.uri, "size_bytes": s.size_bytes, "etag": s.etag} for s in file.sidecars]
    return {"size_bytes": file.size_bytes, "etag": file.etag, "sidecars": sidecars}


def _same_bytes(row: Row, file: FoundFile, file_hash: Callable[[str], str]) -> bool:
    """Whether a file in a new version holds the bytes that its row was made from."""
    if not is_hashed(row) or file.size_bytes != row["size_bytes"]:
        return False
    try:
        content = file_hash(file.uri)
    except OSError:
        return False
    return row["video_id"] in (content, unreadable_id(content, file.uri))


def _renames(vanished: Sequence[Row], new: Sequence[FoundFile], file_hash: Callable[[str], str]) -> dict[str, Row]:
    """New uri -> the vanished row whose content it holds. A vanished row is taken once."""
    by_size: dict[int, list[Row]] = {}
    for row in sorted(vanished, key=lambda row: (row["state"] != "present", row["uri"])):
        if row["video_id"] is not None:
            by_size.setdefault(row["size_bytes"], []).append(row)
    moved: dict[str, Row] = {}
    for file in new:
        candidates = by_size.get(file.size_bytes)
        if not candidates:
            continue
        content = file_hash(file.uri)
        for row in candidates:
            if row["video_id"] == content:
                moved[file.uri] = row
            elif row["video_id"] == unreadable_id(content, row["uri"]):
                moved[file.uri] = row | {"video_id": None}
            else:
                continue
            candidates.remove(row)
            break
    return moved


def _batches(files: Sequence[FoundFile], batching: Batching) -> list[list[FoundFile]]:
    batches: list[list[FoundFile]] = []
    size = 0
    for file in files:
        if not batches or len(batches[-1]) >= batching.max_files or size + file.size_bytes > batching.max_bytes:
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += file.size_bytes
    return batches
