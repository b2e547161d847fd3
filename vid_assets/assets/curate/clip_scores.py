"""`clip_scores`: every metric of every clip, from the statistics, without a threshold. Opens no file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict

from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.curate.stored_stats import read_stats, stats_versions
from vid_assets.assets.queries import present_videos_of
from vid_assets.assets.slices import PRESENT
from vid_assets.curation.metrics import METRICS
from vid_assets.curation.scores import SCORES_VERSION, ClipScore, score
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.digests import digest
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row


def clip_scores(work: Work) -> Output:
    """Measure every metric of every clip, from the statistics, of which those of one video at a time are in memory."""
    store = work.store
    videos = present_videos_of(store, work.batch)
    versions = stats_versions(store, work.here)
    by_id = {row["clip_id"]: row for row in store.read("clips", work.here)}
    wanted = {}
    for clip_id, clip in by_id.items():
        video_id = clip["video_id"]
        if video_id in videos and video_id in versions:
            made_from = [clip["content_hash"], videos[video_id]["content_hash"], versions[video_id]]
            wanted[clip_id] = digest([clip_id, made_from, SCORES_VERSION])

    def compute(misses: list[str]) -> Iterable[Row]:
        in_order = sorted(misses, key=lambda clip_id: (by_id[clip_id]["video_id"], by_id[clip_id]["start_s"]))
        for video_id, clip_ids in itertools.groupby(in_order, key=lambda clip_id: by_id[clip_id]["video_id"]):
            source = SourceArrays(videos[video_id], read_stats(store, video_id))
            for clip_id in clip_ids:
                yield _score_row(clip_id, work.batch, score(by_id[clip_id], source))

    output = sync_slice(
        store,
        "clip_scores",
        work.here,
        wanted,
        compute,
        retain=by_id.__contains__,  # of a video that is gone, what was measured stays readable
        force=work.force,
    )
    scores = store.read("clip_scores", work.here, [*METRICS, "score_error"])
    output.facts |= {
        "score errors": sum(row["score_error"] is not None for row in scores),
        "not measured": {name: n for name in METRICS if (n := sum(row[name] is None for row in scores))},
    }
    return output


def _score_row(clip_id: str, batch: str, scored: ClipScore) -> Row:
    return {
        "clip_id": clip_id,
        "ingest_batch": batch,
        **scored.metrics,
        "hashes": scored.hashes,
        "quarters": scored.quarters,
        "packet_hash": scored.packet_hash,
        "crop": list(scored.crop) if scored.crop else None,
        "continuity": [asdict(event) for event in scored.continuity],
        "score_error": scored.error,
    }


ASSET = Asset(
    "clip_scores",
    group="curate",
    doc="Every metric for every clip, no threshold. NULL means not measured. Opens no video.",
    kinds=frozenset({"numpy", "lancedb"}),
    partitions="batch",
    tables=("clip_scores",),
    code_version=SCORES_VERSION,
    upstream=("raw_videos", "frame_stats", "clips"),
    slices=(PRESENT,),
    run=clip_scores,
)
