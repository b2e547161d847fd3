"""`raw_videos`: hash the files of a batch, decide which batch owns each video, read the headers of the new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from vid_assets.footage.identity import file_hash, local_copy, unreadable_id
from vid_assets.footage.membership import file_version, is_hashed
from vid_assets.footage.probe import PROBE_VERSION, Probe, probe
from vid_assets.project import Project
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.state import digest
from vid_assets.store.tables import Row, Store, equals, one_of

Progress = Callable[[str], None]


@dataclass
class _Hashing:
    """Hashes the sources that need it, and remembers headers that had to be read to know what a file is."""

    store: Store
    probes: dict[str, Probe] = field(default_factory=dict)
    changed: list[Row] = field(default_factory=list)
    unreadable: dict[str, Row] = field(default_factory=dict)
    hashed_bytes: int = 0

    def identify(self, row: Row) -> str:
        """The video_id of a present source, hashing it where its hash is not that of the file as it is now."""
        if is_hashed(row):
            return row["video_id"]
        try:
            content = file_hash(row["uri"])
            self.hashed_bytes += row["size_bytes"]
            video_id = self._video_id(content, row["uri"])
        except OSError as error:
            video_id = unreadable_id(None, row["uri"])
            reason = f"cannot be read: {error.strerror or error}"
            self.unreadable[video_id] = row | {"status": "failed", "error": reason}
            return video_id
        if row["video_id"] not in (None, video_id):
            tombstone = f"{row['uri']}@{row['video_id'][:12]}"
            self.changed.append(row | {"uri": tombstone, "state": "replaced", "created_at": datetime.now(UTC)})
        row.update(video_id=video_id, hashed_version=file_version(row))
        self.changed.append(row)
        return video_id

    def _video_id(self, content: str, uri: str) -> str:
        if self.store.count("videos", equals("video_id", content)):
            return content
        with local_copy(uri) as path:
            found = probe(path)
        video_id = content if found.status == "ok" else unreadable_id(content, uri)
        self.probes[video_id] = found
        return video_id


def raw_videos(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Sync the batch's rows of `videos`; rows of videos that left stay, for lineage."""
    store = project.store
    hashing = _Hashing(store)
    everything = store.read("sources", "state <> 'replaced'")
    mine = [row for row in everything if row["ingest_batch"] == batch and row["state"] == "present"]
    failed_before = store.read("videos", equals("ingest_batch", batch) + " AND status = 'failed'")
    outdated = {row["video_id"] for row in failed_before if force or row["cache_key"] != _cache_key(row["video_id"])}
    for row in mine:
        if row["video_id"] in outdated:  # another release may be able to read it, and then it gets another id
            row["hashed_version"] = None
    owned: dict[str, Row] = {}
    for index, row in enumerate(mine):
        video_id = hashing.identify(row)
        if _owner(store, hashing, everything, row, video_id) == batch:
            owned.setdefault(video_id, row)
        if (index + 1) % 100 == 0:
            progress(f"hashed {index + 1} of {len(mine)} files")
    store.upsert("sources", hashing.changed)
    kept = store.read("videos", equals("ingest_batch", batch), ["video_id", "cache_key"])
    present = {row["video_id"] for row in store.read("sources", "state = 'present'", ["video_id"])} - outdated
    wanted = {row["video_id"]: _cache_key(row["video_id"]) for row in kept if row["video_id"] in present}
    wanted |= {video_id: _cache_key(video_id) for video_id in owned}

    def compute(misses: list[str]) -> Iterable[Row]:
        for video_id in misses:
            source = owned.get(video_id) or _any_source(store, video_id)
            yield _video_row(video_id, batch, source, hashing)

    known = {row["video_id"] for row in store.read("sources", columns=["video_id"])}
    retained = ({row["video_id"] for row in kept} & known) - outdated
    output = sync_slice(
        store,
        "videos",
        equals("ingest_batch", batch),
        wanted,
        compute,
        retain=retained.__contains__,
        flush_rows=64,
        force=force,
    )
    failed = store.read("videos", equals("ingest_batch", batch) + " AND status = 'failed'", ["video_id", "error"])
    output.retry = bool(hashing.unreadable)
    output.facts |= {
        "files": len(mine),
        "unreadable": len(failed),
        "unreadable reasons": sorted({row["error"] or "" for row in failed}),
        "bytes": hashing.hashed_bytes,
    }
    return output


def _cache_key(video_id: str) -> str:
    return digest({"video": video_id, "probe": PROBE_VERSION})


def _owner(store: Store, hashing: _Hashing, sources: list[Row], row: Row, video_id: str) -> str:
    """The batch that owns a video: the one whose row is there, else the first batch that holds its bytes."""
    there = store.read("videos", equals("video_id", video_id), ["ingest_batch"])
    if there:
        return there[0]["ingest_batch"]
    for other in sorted(sources, key=lambda other: other["ingest_batch"]):
        if other["ingest_batch"] >= row["ingest_batch"]:
            break
        same_size = other["state"] == "present" and other["size_bytes"] == row["size_bytes"]
        if same_size and hashing.identify(other) == video_id:
            return other["ingest_batch"]
    return row["ingest_batch"]


def _any_source(store: Store, video_id: str) -> Row:
    return store.read("sources", f"state = 'present' AND {one_of('video_id', [video_id])}")[0]


def _video_row(video_id: str, batch: str, source: Row, hashing: _Hashing) -> Row:
    row = {"video_id": video_id, "ingest_batch": batch, "size_bytes": source["size_bytes"]}
    if video_id in hashing.unreadable:
        return row | {"status": "failed", "error": hashing.unreadable[video_id]["error"]}
    found = hashing.probes.get(video_id)
    if found is None:
        with local_copy(source["uri"]) as path:
            found = probe(path)
    return row | asdict(found)
