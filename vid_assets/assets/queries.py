"""What many assets ask of the tables: which batches there are, which videos are there, which clips lost."""

from __future__ import annotations

from vid_assets.footage.membership import present_videos
from vid_assets.store.tables import Row, Store, equals

_SOURCE_COLUMNS = ["uri", "size_bytes", "etag", "video_id", "hashed_version", "ingest_batch", "state"]


def batches(store: Store) -> list[str]:
    """The ingest batches that `source_files` has formed, in order."""
    return sorted({row["ingest_batch"] for row in store.read("sources", columns=["ingest_batch"])})


def presence(store: Store, batch: str | None = None) -> list[str]:
    """The videos (of one batch, or of all) that have a present source, in order."""
    by_batch = _presence_by_batch(store)
    return by_batch.get(batch, []) if batch else sorted(video for videos in by_batch.values() for video in videos)


def _presence_by_batch(store: Store) -> dict[str, list[str]]:
    def group() -> dict[str, list[str]]:
        here = present_videos(store.read("sources", columns=_SOURCE_COLUMNS))
        found: dict[str, list[str]] = {}
        for row in store.read("videos", columns=["video_id", "ingest_batch"]):
            if row["video_id"] in here:
                found.setdefault(row["ingest_batch"], []).append(row["video_id"])
        return found

    return store.derived("presence", ("sources", "videos"), group)


def lost_clips(store: Store, batch: str) -> list[str]:
    """The clips of a batch that lost to a better copy."""

    def group() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in store.read("duplicates", columns=["clip_id", "ingest_batch"]):
            found.setdefault(row["ingest_batch"], []).append(row["clip_id"])
        return found

    return store.derived("lost clips", ("duplicates",), group).get(batch, [])


def openable(store: Store) -> dict[str, Row]:
    """The source to open each present video by."""

    def find() -> dict[str, Row]:
        return {video_id: dict(rows[0]) for video_id, rows in present_videos(store.read("sources")).items()}

    return store.derived("openable", ("sources",), find)


def good_videos(store: Store, batch: str) -> dict[str, Row]:
    """The videos of a batch whose header could be read."""
    rows = store.read("videos", equals("ingest_batch", batch) + " AND status = 'ok'")
    return {row["video_id"]: row for row in rows}


def present_videos_of(store: Store, batch: str) -> dict[str, Row]:
    """The videos of a batch whose header could be read, and that have a present source."""
    here = set(presence(store, batch))
    return {video_id: row for video_id, row in good_videos(store, batch).items() if video_id in here}
