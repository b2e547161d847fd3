"""`raw_videos`: hash the files of a batch, decide which batch owns each video, read the headers of the new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from vid_assets.assets.asset import Asset, Check, Finding, Slice, Work
from vid_assets.assets.facts import Facts, fact
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.footage.identity import UNREADABLE, file_hash, local_copy, unreadable_id
from vid_assets.footage.isolation import limit_was_raised
from vid_assets.footage.membership import is_hashed, present_videos, seen_version
from vid_assets.footage.opening import CHANGED, ChangedSinceScanError, opened, refuse_changed, why_unread
from vid_assets.footage.probe import HEIC_NEEDS_EXTRA, PROBE_VERSION, Probe, failed, probe_apart
from vid_assets.footage.settings import Decoding
from vid_assets.footage.shown import shown_by
from vid_assets.footage.stills import heif_is_installed
from vid_assets.section import part
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row, Store, equals, one_of


@dataclass(frozen=True)
class Probed(Facts):
    """What became of the files of a batch: numbers of files, why some cannot be read, bytes that were hashed now.

    `others` are no footage at all, such as another program's data; they are not counted as unreadable. `otherwise` is
    how many are deinterlaced, brought from HDR to SDR, or shown on black.
    """

    files: int = fact("files")
    present: int = fact("present")
    taken_down: int = fact("taken down")
    unreadable: int = fact("unreadable")
    others: int = fact("other files")
    otherwise: dict[str, int] = fact("not shown as stored")
    reasons: list[str] = fact("unreadable reasons")
    bytes: int = fact("bytes")


@dataclass
class _Hashing:
    """Hashes the sources that need it, and remembers headers that had to be read to know what a file is."""

    store: Store
    limits: Decoding
    removed: frozenset[str] = frozenset()  # videos that were taken down
    again: set[str] = field(default_factory=set)  # uris to hash although a hash is known
    probes: dict[str, Probe] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    hashed_bytes: int = 0

    def identify(self, row: Row) -> str:
        """The video_id of a present source, hashing it where its hash is not that of the file as it is now.

        What was found is written at once, so that a killed run hashes no file twice. A file that changes meanwhile is
        unreadable until it was scanned again.
        """
        if is_hashed(row) and row["uri"] not in self.again:
            return row["video_id"]
        self.again.discard(row["uri"])
        try:
            refuse_changed(row)
            content = file_hash(row["uri"])
            refuse_changed(row)
            video_id = self._video_id(content, row["uri"])
        except (ChangedSinceScanError, OSError) as error:
            video_id = unreadable_id(None, row["uri"])
            self.unreadable[video_id] = why_unread(error)
            return video_id
        self.hashed_bytes += row["size_bytes"]
        self._record(row, video_id)
        return video_id

    def _video_id(self, content: str, uri: str) -> str:
        for known in {content, unreadable_id(content, uri)} & self.removed:
            return known
        if self.store.count("videos", equals("video_id", content)):
            return content
        with local_copy(uri) as path:
            found = probe_apart(path, self.limits)
        video_id = content if found.status == "ok" else unreadable_id(content, uri)
        self.probes[video_id] = found
        return video_id

    def _record(self, row: Row, video_id: str) -> None:
        """Write what a source is, unless a scan saw another version meanwhile; what it was stays as a tombstone."""
        with self.store.writing("sources"):
            (now,) = self.store.read("sources", equals("uri", row["uri"]))
            if seen_version(now) != seen_version(row):
                return
            changed = [now | {"video_id": video_id, "hashed_version": seen_version(now)}]
            if now["video_id"] not in (None, video_id):
                tombstone = f"{now['uri']}@{now['video_id'][:12]}"
                changed.append(now | {"uri": tombstone, "state": "replaced", "created_at": datetime.now(UTC)})
            self.store.upsert("sources", changed, locked=True)
        row.update(changed[0])


def raw_videos(work: Work) -> Output:
    """Sync the batch's rows of `videos`; rows of videos that left stay, for lineage."""
    store, batch, limits = work.store, work.batch, work.config["decoding"]
    removed = frozenset(row["video_id"] for row in store.read("removals", columns=["video_id"]))
    hashing = _Hashing(store, limits, removed)
    present = store.read("sources", "state = 'present'")
    mine = [row for row in present if row["ingest_batch"] == batch]
    failed_before = store.read("videos", work.here + " AND status = 'failed'")
    # that of a file that is gone stays: it says, should the file come back, that the file needs another look
    there = {row["video_id"] for row in present}
    raised = {row["video_id"] for row in failed_before if row["video_id"] in there and _may_succeed_now(row, limits)}
    outdated = raised | {row["video_id"] for row in failed_before if row["cache_key"] != _cache_key(row["video_id"])}
    # another release may be able to read a file that failed, which then gets another id
    hashing.again |= {row["uri"] for row in mine if work.force or row["video_id"] in outdated}
    earlier: dict[int, list[Row]] = {}
    for row in sorted(present, key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["ingest_batch"] < batch:
            earlier.setdefault(row["size_bytes"], []).append(row)
    owned: dict[str, Row] = {}
    for number, row in enumerate(mine, 1):
        video_id = hashing.identify(row)
        if video_id in removed:
            continue
        if _owner(store, hashing, earlier.get(row["size_bytes"], []), batch, video_id) == batch:
            owned.setdefault(video_id, row)
        if number % 100 == 0:
            work.progress(f"hashed {number} of {len(mine)} files")
    if raised:  # only now, as until then the source would not be known to need another look
        store.delete("videos", one_of("video_id", sorted(raised)))
    kept = store.read("videos", work.here, ["video_id", "cache_key"])
    sources = store.read("sources")
    readable = present_videos(sources)
    here = (set(readable) | set(hashing.unreadable)) - removed
    known = ({row["video_id"] for row in sources} | here) - removed
    wanted = {row["video_id"]: _cache_key(row["video_id"]) for row in kept if row["video_id"] in here}
    wanted |= {video_id: _cache_key(video_id) for video_id in owned}
    # what is known of a file that changed stays until it is scanned
    held = {
        row["video_id"]
        for row in kept
        if wanted.get(row["video_id"], row["cache_key"]) != row["cache_key"]
        and _has_changed(owned.get(row["video_id"]) or next(iter(readable.get(row["video_id"], ())), None))
    }
    wanted = {video_id: key for video_id, key in wanted.items() if video_id not in held}

    def compute(misses: list[str]) -> Iterable[Row]:
        for video_id in misses:
            yield _video_row(video_id, batch, owned.get(video_id) or dict(readable[video_id][0]), hashing)

    output = sync_slice(
        store,
        "videos",
        work.here,
        wanted,
        compute,
        retain=known.__contains__,
        flush_rows=64,
        force=work.force,
    )
    columns = ["video_id", "status", "error", "kind", "pix_fmt", "is_interlaced", "color_transfer"]
    rows = store.read("videos", work.here, columns)
    failures = [row for row in rows if row["status"] == "failed" and row["video_id"] in here]
    unread = [row for row in failures if row["kind"] != "other"]
    output.retry = bool(hashing.unreadable or held)
    output.facts |= Probed(
        files=len(mine),
        present=sum(row["video_id"] in here for row in rows),
        taken_down=sum(row["video_id"] in removed for row in mine),
        unreadable=len(unread),
        others=len(failures) - len(unread),
        otherwise=dict(Counter(how for row in rows if row["video_id"] in here and (how := shown_by(row)))),
        reasons=sorted({row["error"] or "" for row in unread} | ({CHANGED} if held else set())),
        bytes=hashing.hashed_bytes,
    ).shown()
    return output


def _has_changed(source: Mapping[str, Any] | None) -> bool:
    """Whether a source is there in another version than was scanned."""
    try:
        if source is not None:
            refuse_changed(source)
    except ChangedSinceScanError:
        return True
    except OSError:
        return False  # it is told with its reason where it is opened
    return False


def _may_succeed_now(row: Row, limits: Decoding) -> bool:
    unread = row["error"] == CHANGED or (row["error"] or "").startswith(UNREADABLE)
    return unread or limit_was_raised(row, limits) or (row["error"] == HEIC_NEEDS_EXTRA and heif_is_installed())


def _cache_key(video_id: str) -> str:
    return digest({"video": video_id, "probe": PROBE_VERSION})


def _owner(store: Store, hashing: _Hashing, earlier: list[Row], batch: str, video_id: str) -> str:
    """The batch that owns a video: the one whose row is there, else the first batch that holds its bytes."""
    there = store.read("videos", equals("video_id", video_id), ["ingest_batch"])
    if there:
        return there[0]["ingest_batch"]
    return next((row["ingest_batch"] for row in earlier if hashing.identify(row) == video_id), batch)


def _video_row(video_id: str, batch: str, source: Row, hashing: _Hashing) -> Row:
    row = {"video_id": video_id, "ingest_batch": batch, "size_bytes": source["size_bytes"]}
    if video_id in hashing.unreadable:
        return row | {"status": "failed", "error": hashing.unreadable[video_id]}
    found = hashing.probes.get(video_id)
    if found is None:
        try:
            with opened(source) as path:
                found = probe_apart(path, hashing.limits)
        except (ChangedSinceScanError, OSError) as error:
            hashing.unreadable[video_id] = why_unread(error)
            found = failed(hashing.unreadable[video_id])
    return row | asdict(found)


def _batch_files(work: Work) -> dict[str, str]:
    """The files of the batch, and the extra that may read what could not be read."""
    rows = work.store.read("sources", work.here, ["uri", "size_bytes", "etag", "state"])
    rows = [row for row in rows if row["state"] != "replaced"]
    # A HEIC still that could not be read is stale once the extra is there; found, not imported, as that is heavy
    needs_extra = any(row["uri"].lower().endswith((".heic", ".heif", ".hif")) for row in rows)
    extra = {"extra heic": "installed"} if needs_extra and find_spec("pillow_heif") else {}
    listed = sorted((row["uri"], row["size_bytes"], row["etag"], row["state"]) for row in rows)
    return {"sources": digest(listed)} | extra


def _readable(work: Work, output: Output) -> Finding:
    found, least = Probed.read(output.facts), work.runtime["ingest"].readable_share_min
    footage = found.present - (found.others or 0)
    good = footage - found.unreadable
    share = good / footage if footage else 1.0
    words = f"{good} of {footage} ({share:.0%}); at least {least:.0%} is asked for"
    if share < least:
        unread = work.store.read("videos", work.here + " AND status = 'failed' AND kind IS NULL", ["video_id", "error"])
        reasons = {row["video_id"]: row["error"] for row in unread}
        files = work.store.read("sources", work.here + " AND state = 'present'", ["uri", "video_id"])
        named = [f"{row['uri']}: {reasons[row['video_id']]}" for row in files if row["video_id"] in reasons]
        words += (
            f". {'; '.join(named[:3])}{f'; and {len(named) - 3} more' if len(named) > 3 else ''}. Leave out what is no "
            "footage by `exclude` of the source, mend the rest, or lower ingest.readable_share_min"
        )
    return Finding(share >= least, words, {"reasons": found.reasons})


def _least(config: Config) -> str:
    least = config.ingest.readable_share_min
    return f"At least {least:.0%} of the batch's files are videos or stills that can be opened."


ASSET = Asset(
    "raw_videos",
    group="ingest",
    doc="Hashes each file, reads its header and first frame. Byte-identical files are one video.",
    kinds=frozenset({"ffmpeg", "lancedb"}),
    partitions="batch",
    tables=("videos",),
    writes=("sources",),  # which video each of its files is
    code_version=PROBE_VERSION,
    slices=(Slice(_batch_files, tables=("sources",), of_files=True),),
    slices_of=("source_files",),
    reads=("removals",),  # a removal forgets the states of its batches
    config=lambda config, batch: {"decoding": config.decoding},  # raised, what failed by a limit is tried again
    runtime=lambda config, batch: {"ingest": part(config.ingest, "readable_share_min")},
    run=raw_videos,
    checks=(Check("readable_share", _least, _readable),),
)
