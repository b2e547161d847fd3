"""`frame_stats`: the one decode of curation; all else of it works on what is measured here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.queries import good_videos, openable
from vid_assets.assets.slices import PRESENT
from vid_assets.config import Config
from vid_assets.curation.groups import GROUPS, GroupStats, wanted_groups
from vid_assets.curation.transnet import require_transnet
from vid_assets.digests import digest
from vid_assets.footage.identity import UNREADABLE
from vid_assets.footage.isolation import limit_was_raised
from vid_assets.footage.opening import CHANGED, ChangedSinceScanError, opened, why_unread
from vid_assets.footage.shown import shown_by
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row, equals

#: Rows of files that could not be read at that moment, which says nothing of them.
_UNREAD = f"(error = '{CHANGED}' OR error LIKE '{UNREADABLE}%')"
#: The setting that names groups of statistics which the configuration asks for beside `GROUPS`.
_OPTIONAL = "optional groups"


def frame_stats(work: Work) -> Output:
    """Decode each video once for all groups of statistics that it lacks."""
    from vid_assets.curation.statistics import measure_apart  # OpenCV and a child process; declarations stay light

    store, limits = work.store, work.config["decoding"]
    videos, sources = good_videos(store, work.batch), openable(store)
    stopped = f"{work.here} AND (hit_limit IS NOT NULL OR {_UNREAD})"
    for row in store.read("frame_stats", stopped, ["row_id", "video_id", "hit_limit", "limit_value"]):
        if row["video_id"] in sources and (row["hit_limit"] is None or limit_was_raised(row, limits)):
            store.delete("frame_stats", equals("row_id", row["row_id"]))
    groups_wanted = GROUPS | work.config.get(_OPTIONAL, {})
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
            work.progress(f"decoding {name}")
            decoded_bytes += videos[video_id]["size_bytes"]
            try:
                with opened(sources[video_id]) as path:
                    measured = measure_apart(path, videos[video_id], groups, limits, _now_and_then(name, work.progress))
            except (ChangedSinceScanError, OSError) as error:
                reason = why_unread(error)
                measured = {
                    group: GroupStats(group, groups_wanted[group], status="failed", error=reason) for group in groups
                }
            for group in groups:
                yield _stats_row(video_id, work.batch, measured[group])

    output = sync_slice(
        store,
        "frame_stats",
        work.here,
        wanted,
        compute,
        retain=names.__contains__,  # of a video that is gone, what was measured stays readable
        flush_rows=4 * len(groups_wanted),
        force=work.force,
    )
    proofs = store.read("frame_stats", work.here + " AND `group` = 'proof'", ["video_id", "status", "error"])
    output.retry = store.count("frame_stats", f"{work.here} AND {_UNREAD}") > 0
    output.facts |= {
        "videos": len(proofs),
        "not decoded whole": sum(row["status"] != "ok" for row in proofs),
        "reasons": sorted({row["error"] for row in proofs if row["status"] != "ok" and row["error"]}),
        "bytes": decoded_bytes,
    }
    return output


def _now_and_then(name: str, progress: Callable[[str], None]) -> Callable[[int], None]:
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
    if group == "packets":
        return {name: video[name] for name in ("stream_index", "kind")}
    columns = ["stream_index", "kind", "rotation", "is_mirrored", "sample_aspect"]
    if group == "proof":
        columns += ["container", "claimed_frames", "duration_s"]
    how = shown_by(video)
    return {name: video[name] for name in columns} | ({"shown": how} if how else {})


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


def _config(config: Config, batch: str | None) -> dict[str, Any]:
    """The limits of reading: raised, what failed by them is tried again; what was read stands in any case."""
    extra = {name: version for name, version in wanted_groups(config.shots).items() if name not in GROUPS}
    return {"decoding": config.decoding} | ({_OPTIONAL: extra} if extra else {})


ASSET = Asset(
    "frame_stats",
    group="curate",
    doc="The one decode of curation: proves each file whole, keeps timestamps, per-frame statistics and thumbnails.",
    kinds=frozenset({"ffmpeg", "opencv", "lancedb"}),
    partitions="batch",
    tables=("frame_stats",),
    code_version=",".join(f"{name}:{version}" for name, version in sorted(GROUPS.items())),
    upstream=("raw_videos",),
    slices=(PRESENT,),
    config=_config,
    run=frame_stats,
)
