"""The statistics of `frame_stats` read back from its table, without opening any file."""

from __future__ import annotations

from collections.abc import Iterable

from vid_assets.curation.groups import APART, GroupStats
from vid_assets.digests import digest
from vid_assets.store.tables import Row, Store, equals, one_of


def read_stats(store: Store, video_id: str) -> dict[str, GroupStats]:
    """The statistics of one video by group, without thumbnails."""
    columns = [
        "group", "group_version", "timestamps", "stats", "miniatures", "decoded_ratio", "corrupt_frames",
        "packet_errors", "packet_hash", "status", "error",
    ]  # fmt: skip
    found = {}
    for row in store.read("frame_stats", equals("video_id", video_id), columns):
        found[row["group"]] = GroupStats(
            group=row["group"],
            version=row["group_version"],
            timestamps=row["timestamps"] or [],
            stats={series["name"]: series["values"] for series in row["stats"] or []},
            thumbnails=[],
            miniatures=row["miniatures"],
            decoded_ratio=row["decoded_ratio"],
            corrupt_frames=row["corrupt_frames"],
            packet_errors=row["packet_errors"],
            packet_hash=row["packet_hash"],
            status=row["status"],
            error=row["error"],
        )
    return found


def stats_versions(store: Store, where: str) -> dict[str, str]:
    """A digest of the statistics of each video that `where` selects, but those of `APART`. Reads none of them."""
    hashes: dict[str, list[tuple[str, str]]] = {}
    for row in store.read("frame_stats", where, ["video_id", "group", "content_hash"]):
        if row["group"] not in APART:
            hashes.setdefault(row["video_id"], []).append((row["group"], row["content_hash"]))
    return {video_id: digest(sorted(parts)) for video_id, parts in hashes.items()}


def thumbnails(store: Store, video_ids: Iterable[str]) -> dict[str, list[Row]]:
    """The stored thumbnails of some videos: [{time_s, jpeg}, ...] for each."""
    where = one_of("video_id", sorted(set(video_ids))) + " AND `group` = 'thumbnails'"
    return {
        row["video_id"]: row["thumbnails"] or [] for row in store.read("frame_stats", where, ["video_id", "thumbnails"])
    }
