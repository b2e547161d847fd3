"""`clips`: where each video is divided, from its statistics. Opens no file."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.curate.stored_stats import read_stats, stats_versions
from vid_assets.assets.queries import present_videos_of
from vid_assets.assets.slices import PRESENT
from vid_assets.curation.shots import SHOTS_VERSION, find_clips
from vid_assets.digests import digest
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row


def clips(work: Work) -> Output:
    """Divide each present video into clips, from its statistics, of which those of one at a time are in memory.

    The clips of videos that are gone stay readable.
    """
    store, config = work.store, work.config["shots"]
    videos = present_videos_of(store, work.batch)
    versions = stats_versions(store, work.here)
    known = store.read("clips", work.here, ["clip_id", "video_id"])
    wanted: dict[str, str] = {}
    found: dict[str, Row] = {}
    for video_id in sorted(videos.keys() & versions.keys()):
        content = videos[video_id]["content_hash"]
        key = digest([video_id, content, versions[video_id], config.model_dump(), SHOTS_VERSION])
        for clip in find_clips(videos[video_id], read_stats(store, video_id), config):
            clip_id = _clip_id(video_id, asdict(clip))
            found[clip_id] = {"clip_id": clip_id, "video_id": video_id, "ingest_batch": work.batch} | asdict(clip)
            wanted[clip_id] = key
    gone = {row["clip_id"] for row in known if row["video_id"] not in videos}
    output = sync_slice(
        store,
        "clips",
        work.here,
        wanted,
        lambda misses: (found[clip_id] for clip_id in misses),
        retain=gone.__contains__,
        force=work.force,
    )
    kept = store.read("clips", work.here, ["kind", "start_s", "end_s"])
    output.facts |= {
        "videos": len(videos),
        "video clips": sum(row["kind"] == "video" for row in kept),
        "stills": sum(row["kind"] == "image" for row in kept),
        "video seconds": round(sum(row["end_s"] - row["start_s"] for row in kept), 1),
    }
    return output


def _clip_id(video_id: str, clip: Row) -> str:
    parts = [video_id, round(clip["start_s"], 6), round(clip["end_s"], 6), clip["kind"]]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


ASSET = Asset(
    "clips",
    group="curate",
    doc="Divides each video at its shot boundaries, on the presentation clock, from the statistics. Opens no video.",
    kinds=frozenset({"python", "lancedb"}),
    partitions="batch",
    tables=("clips",),
    code_version=SHOTS_VERSION,
    upstream=("raw_videos", "frame_stats"),
    slices=(PRESENT,),
    config=lambda config, batch: {"shots": config.shots},
    run=clips,
)
