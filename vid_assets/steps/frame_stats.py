"""`frame_stats`: the one step of curation that opens files; and its rows read back as statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from vid_assets.curation.groups import GroupStats, wanted_groups
from vid_assets.curation.statistics import measure_apart
from vid_assets.curation.transnet import require_transnet
from vid_assets.footage.isolation import limit_was_raised
from vid_assets.footage.membership import present_videos
from vid_assets.footage.opening import opened
from vid_assets.project import Project
from vid_assets.stage_inputs import presence
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.state import digest
from vid_assets.store.tables import Row, equals, one_of

Progress = Callable[[str], None]


def openable(project: Project) -> dict[str, Row]:
    """The source to open each present video by."""
    return {video_id: dict(rows[0]) for video_id, rows in present_videos(project.store.read("sources")).items()}


def good_videos(project: Project, batch: str) -> dict[str, Row]:
    """The videos of a batch whose header could be read."""
    rows = project.store.read("videos", equals("ingest_batch", batch) + " AND status = 'ok'")
    return {row["video_id"]: row for row in rows}


def present_of(project: Project, batch: str, videos: dict[str, Row]) -> dict[str, Row]:
    """Those of `videos` that have a present source."""
    here = set(presence(project, batch))
    return {video_id: row for video_id, row in videos.items() if video_id in here}


def frame_stats(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Decode each video once for all groups of statistics that it lacks."""
    videos, sources = good_videos(project, batch), openable(project)
    limits = project.config.decoding
    stopped = equals("ingest_batch", batch) + " AND hit_limit IS NOT NULL"
    for row in project.store.read("frame_stats", stopped, ["row_id", "video_id", "hit_limit", "limit_value"]):
        if row["video_id"] in sources and limit_was_raised(row, limits):
            project.store.delete("frame_stats", equals("row_id", row["row_id"]))
    groups_wanted = wanted_groups(project.config.shots)
    if "transnet" in groups_wanted:
        require_transnet()
    names = {f"{video_id}/{group}": (video_id, group) for video_id in videos for group in groups_wanted}
    wanted = {
        name: digest(
            {
                "video": video_id,
                "group": group,
                "version": groups_wanted[group],
                "stream": _stream(videos[video_id], group),
            }
        )
        for name, (video_id, group) in names.items()
        if video_id in sources
    }
    decoded_bytes = 0

    def compute(misses: list[str]) -> Iterable[Row]:
        nonlocal decoded_bytes
        by_video: dict[str, list[str]] = {}
        for name in misses:
            video_id, group = names[name]
            by_video.setdefault(video_id, []).append(group)
        for number, (video_id, groups) in enumerate(by_video.items(), 1):
            name = f"{number} of {len(by_video)}: {sources[video_id]['uri']}"
            progress(f"decoding {name}")
            decoded_bytes += videos[video_id]["size_bytes"]
            with opened(sources[video_id]) as path:
                measured = measure_apart(path, videos[video_id], groups, limits, _now_and_then(name, progress))
            for group in groups:
                yield _stats_row(video_id, batch, measured[group])

    output = sync_slice(
        project.store,
        "frame_stats",
        equals("ingest_batch", batch),
        wanted,
        compute,
        retain=names.__contains__,  # of a video that is gone, what was measured stays readable
        flush_rows=4 * len(groups_wanted),
        force=force,
    )
    proofs = project.store.read(
        "frame_stats", equals("ingest_batch", batch) + " AND `group` = 'proof'", ["video_id", "status", "error"]
    )
    output.facts |= {
        "videos": len(proofs),
        "not decoded whole": sum(row["status"] != "ok" for row in proofs),
        "reasons": sorted({row["error"] for row in proofs if row["status"] != "ok" and row["error"]}),
        "bytes": decoded_bytes,
    }
    return output


def _now_and_then(name: str, progress: Progress) -> Callable[[int], None]:
    """Tells of a long file once in half a minute."""
    last = time.monotonic()

    def tell(frames: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 30:
            last = time.monotonic()
            progress(f"decoding {name}: {frames} frames done")

    return tell


def _stream(video: Row, group: str) -> dict[str, Any]:
    """What of a row of `videos` says which pictures are measured, and what the proof compares them with."""
    columns = ["stream_index", "kind", "rotation", "is_mirrored", "sample_aspect"]
    if group == "proof":
        columns += ["container", "claimed_frames", "duration_s"]
    return {name: video[name] for name in columns}


def _stats_row(video_id: str, batch: str, stats: GroupStats) -> Row:
    row = asdict(stats)
    return {
        "row_id": f"{video_id}/{stats.group}",
        "video_id": video_id,
        "ingest_batch": batch,
        "group": stats.group,
        "group_version": stats.version,
        "timestamps": stats.timestamps,
        "stats": [{"name": name, "values": values} for name, values in stats.stats.items()],
        "thumbnails": [{"time_s": time_s, "jpeg": jpeg} for time_s, jpeg in stats.thumbnails],
        "miniatures": stats.miniatures,
    } | {
        name: row[name]
        for name in (
            *("decoded_ratio", "corrupt_frames", "packet_errors", "packet_hash"),
            *("status", "error", "hit_limit", "limit_value", "log"),
        )
    }


def read_stats(project: Project, video_id: str) -> dict[str, GroupStats]:
    """The statistics of one video by group, without thumbnails."""
    columns = [
        "group", "group_version", "timestamps", "stats", "miniatures", "decoded_ratio", "corrupt_frames",
        "packet_errors", "packet_hash", "status", "error",
    ]  # fmt: skip
    found = {}
    for row in project.store.read("frame_stats", equals("video_id", video_id), columns):
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


def stats_versions(project: Project, where: str) -> dict[str, str]:
    """A digest of the statistics of each video that `where` selects, thumbnails left out. Reads none of them."""
    hashes: dict[str, list[tuple[str, str]]] = {}
    for row in project.store.read("frame_stats", where, ["video_id", "group", "content_hash"]):
        if row["group"] != "thumbnails":
            hashes.setdefault(row["video_id"], []).append((row["group"], row["content_hash"]))
    return {video_id: digest(sorted(parts)) for video_id, parts in hashes.items()}


def thumbnails(project: Project, video_ids: Iterable[str]) -> dict[str, list[Row]]:
    """The stored thumbnails of some videos: [{time_s, jpeg}, ...] for each."""
    where = one_of("video_id", sorted(set(video_ids))) + " AND `group` = 'thumbnails'"
    return {
        row["video_id"]: row["thumbnails"] or []
        for row in project.store.read("frame_stats", where, ["video_id", "thumbnails"])
    }
