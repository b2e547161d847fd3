"""`clips`, `clip_scores`, `curated_clips`: from statistics to verdicts.

Nothing here opens a file. Each row's cache key names what it was made from, so that a changed threshold judges
stored scores again and opens nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict

from vid_assets.curation.policy import POLICY_VERSION, judge
from vid_assets.curation.scores import METRICS, SCORES_VERSION, ClipScore, score
from vid_assets.curation.shots import SHOTS_VERSION, find_clips
from vid_assets.curation.source import Source
from vid_assets.project import Project
from vid_assets.steps.frame_stats import good_videos, present_of, read_stats, stats_versions
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.state import digest
from vid_assets.store.tables import Row, equals

Progress = Callable[[str], None]


def clips(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Divide each present video into clips, from its statistics, of which those of one at a time are in memory.

    The clips of videos that are gone stay readable.
    """
    config = project.config.shots
    videos = present_of(project, batch, good_videos(project, batch))
    versions = stats_versions(project, equals("ingest_batch", batch))
    known = project.store.read("clips", equals("ingest_batch", batch), ["clip_id", "video_id"])
    wanted: dict[str, str] = {}
    found: dict[str, Row] = {}
    for video_id in sorted(videos.keys() & versions.keys()):
        content = videos[video_id]["content_hash"]
        key = digest([video_id, content, versions[video_id], config.model_dump(), SHOTS_VERSION])
        for clip in find_clips(videos[video_id], read_stats(project, video_id), config):
            clip_id = _clip_id(video_id, asdict(clip))
            found[clip_id] = {"clip_id": clip_id, "video_id": video_id, "ingest_batch": batch} | asdict(clip)
            wanted[clip_id] = key
    gone = {row["clip_id"] for row in known if row["video_id"] not in videos}
    output = sync_slice(
        project.store,
        "clips",
        equals("ingest_batch", batch),
        wanted,
        lambda misses: (found[clip_id] for clip_id in misses),
        retain=gone.__contains__,
        force=force,
    )
    kept = project.store.read("clips", equals("ingest_batch", batch), ["kind", "start_s", "end_s"])
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


def clip_scores(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Measure every metric of every clip, from the statistics, of which those of one video at a time are in memory."""
    videos = present_of(project, batch, good_videos(project, batch))
    versions = stats_versions(project, equals("ingest_batch", batch))
    by_id = {row["clip_id"]: row for row in project.store.read("clips", equals("ingest_batch", batch))}
    wanted = {}
    for clip_id, clip in by_id.items():
        video_id = clip["video_id"]
        if video_id in videos and video_id in versions:
            made_from = [clip["content_hash"], videos[video_id]["content_hash"], versions[video_id]]
            wanted[clip_id] = digest([clip_id, made_from, SCORES_VERSION])

    def compute(misses: list[str]) -> Iterable[Row]:
        in_order = sorted(misses, key=lambda clip_id: (by_id[clip_id]["video_id"], by_id[clip_id]["start_s"]))
        for video_id, clip_ids in itertools.groupby(in_order, key=lambda clip_id: by_id[clip_id]["video_id"]):
            source = Source(videos[video_id], read_stats(project, video_id))
            for clip_id in clip_ids:
                yield _score_row(clip_id, batch, score(by_id[clip_id], source))

    output = sync_slice(
        project.store,
        "clip_scores",
        equals("ingest_batch", batch),
        wanted,
        compute,
        retain=by_id.__contains__,  # of a video that is gone, what was measured stays readable
        force=force,
    )
    scores = project.store.read("clip_scores", equals("ingest_batch", batch), [*METRICS, "score_error"])
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


def curated_clips(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Judge every clip by the policy: all failing rules, with value and limit."""
    policy, here = project.config.policy, equals("ingest_batch", batch)
    kinds = {row["clip_id"]: row["kind"] for row in project.store.read("clips", here, ["clip_id", "kind"])}
    columns = ["clip_id", "content_hash", *METRICS]
    scores = {row["clip_id"]: row for row in project.store.read("clip_scores", here, columns)}
    rules = digest([policy.model_dump(), POLICY_VERSION])
    wanted = {
        clip_id: digest([row["content_hash"], kinds[clip_id], rules])
        for clip_id, row in scores.items()
        if clip_id in kinds
    }

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            failures = judge(kinds[clip_id], scores[clip_id], policy)
            yield {
                "clip_id": clip_id,
                "ingest_batch": batch,
                "accepted": not failures,
                "failures": [vars(failure) for failure in failures],
                "policy_version": POLICY_VERSION,
            }

    output = sync_slice(project.store, "verdicts", here, wanted, compute, flush_rows=20_000, force=force)
    verdicts = project.store.read("verdicts", here, ["accepted", "failures"])
    output.facts |= {
        "accepted": sum(row["accepted"] for row in verdicts),
        "rejected": sum(not row["accepted"] for row in verdicts),
        "rejected by reason": rejected_by_reason(verdicts),
    }
    return output


def rejected_by_reason(verdicts: Iterable[Row]) -> dict[str, int]:
    """How many clips each rule rejects; a clip counts for every rule that it fails."""
    counts = Counter(failure["rule"] for row in verdicts for failure in row["failures"])
    return dict(counts.most_common())
