"""`frame_stats`, `clips`, `clip_scores`, `curated_clips`, `duplicates`: from the one decode to verdicts.

Only `frame_stats` opens files. Each row's cache key names what it was made from, so that a changed threshold judges
stored scores again and opens nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from vid_assets.curation.duplicates import Candidate, find_duplicates
from vid_assets.curation.groups import GROUPS, GroupStats
from vid_assets.curation.policy import POLICY_VERSION, judge
from vid_assets.curation.scores import METRICS, SCORES_VERSION, score
from vid_assets.curation.shots import SHOTS_VERSION, find_clips
from vid_assets.curation.statistics import measure
from vid_assets.footage.membership import present_videos
from vid_assets.footage.opening import opened
from vid_assets.project import Project
from vid_assets.stages import presence
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
    names = {f"{video_id}/{group}": (video_id, group) for video_id in videos for group in GROUPS}
    wanted = {
        name: digest({"video": video_id, "group": group, "version": GROUPS[group], "stream": _stream(videos[video_id])})
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
            progress(f"decoding {number} of {len(by_video)}: {sources[video_id]['uri']}")
            decoded_bytes += videos[video_id]["size_bytes"]
            with opened(sources[video_id]) as path:
                measured = measure(path, videos[video_id], groups)
            for group in groups:
                yield _stats_row(video_id, batch, measured[group])

    output = sync_slice(
        project.store,
        "frame_stats",
        equals("ingest_batch", batch),
        wanted,
        compute,
        retain=names.__contains__,  # of a video that is gone, what was measured stays readable
        flush_rows=4 * len(GROUPS),
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


def _stream(video: Row) -> dict[str, Any]:
    return {"index": video["stream_index"], "rotation": video["rotation"], "kind": video["kind"]}


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
    } | {
        name: row[name]
        for name in ("decoded_ratio", "corrupt_frames", "packet_errors", "packet_hash", "status", "error")
    }


def read_stats(project: Project, where: str) -> tuple[dict[str, dict[str, GroupStats]], dict[str, str]]:
    """The statistics of the videos that `where` selects, without thumbnails, and a digest of them for each video."""
    columns = [
        "video_id", "group", "group_version", "timestamps", "stats", "decoded_ratio", "corrupt_frames",
        "packet_errors", "packet_hash", "status", "error", "content_hash",
    ]  # fmt: skip
    found: dict[str, dict[str, GroupStats]] = {}
    hashes: dict[str, list[tuple[str, str]]] = {}
    for row in project.store.read("frame_stats", where, columns):
        found.setdefault(row["video_id"], {})[row["group"]] = GroupStats(
            group=row["group"],
            version=row["group_version"],
            timestamps=row["timestamps"] or [],
            stats={series["name"]: series["values"] for series in row["stats"] or []},
            thumbnails=[],
            decoded_ratio=row["decoded_ratio"],
            corrupt_frames=row["corrupt_frames"],
            packet_errors=row["packet_errors"],
            packet_hash=row["packet_hash"],
            status=row["status"],
            error=row["error"],
        )
        if row["group"] != "thumbnails":
            hashes.setdefault(row["video_id"], []).append((row["group"], row["content_hash"]))
    return found, {video_id: digest(sorted(parts)) for video_id, parts in hashes.items()}


def clips(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Divide each present video into clips, from its statistics. The clips of videos that are gone stay readable."""
    config = project.config.shots
    videos = present_of(project, batch, good_videos(project, batch))
    stats, versions = read_stats(project, equals("ingest_batch", batch))
    known = project.store.read("clips", equals("ingest_batch", batch), ["clip_id", "video_id"])
    wanted: dict[str, str] = {}
    found: dict[str, Row] = {}
    for video_id in sorted(videos.keys() & stats.keys()):
        content = videos[video_id]["content_hash"]
        key = digest([video_id, content, versions[video_id], config.model_dump(), SHOTS_VERSION])
        for clip in find_clips(videos[video_id], stats[video_id], config):
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
    """Measure every metric of every clip, from the statistics."""
    videos = present_of(project, batch, good_videos(project, batch))
    stats, versions = read_stats(project, equals("ingest_batch", batch))
    by_id = {row["clip_id"]: row for row in project.store.read("clips", equals("ingest_batch", batch))}
    wanted = {}
    for clip_id, clip in by_id.items():
        video_id = clip["video_id"]
        if video_id in videos and video_id in stats:
            made_from = [clip["content_hash"], videos[video_id]["content_hash"], versions[video_id]]
            wanted[clip_id] = digest([clip_id, made_from, SCORES_VERSION])

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            clip = by_id[clip_id]
            scored = score(clip, videos[clip["video_id"]], stats[clip["video_id"]])
            yield {
                "clip_id": clip_id,
                "ingest_batch": batch,
                **scored.metrics,
                "hashes": scored.hashes,
                "packet_hash": scored.packet_hash,
                "crop": list(scored.crop) if scored.crop else None,
                "score_error": scored.error,
            }

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


def curated_clips(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Judge every clip by the policy: all failing rules, with value and limit."""
    policy = project.config.policy
    kinds = {row["clip_id"]: row["kind"] for row in project.store.read("clips", equals("ingest_batch", batch))}
    scores = {row["clip_id"]: row for row in project.store.read("clip_scores", equals("ingest_batch", batch))}
    wanted = {
        clip_id: digest([row["content_hash"], kinds[clip_id], policy.model_dump(), POLICY_VERSION])
        for clip_id, row in scores.items()
        if clip_id in kinds
    }

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            failures = judge(kinds[clip_id], {name: scores[clip_id][name] for name in METRICS}, policy)
            yield {
                "clip_id": clip_id,
                "ingest_batch": batch,
                "accepted": not failures,
                "failures": [asdict(failure) for failure in failures],
                "policy_version": POLICY_VERSION,
            }

    output = sync_slice(project.store, "verdicts", equals("ingest_batch", batch), wanted, compute, force=force)
    verdicts = project.store.read("verdicts", equals("ingest_batch", batch), ["accepted", "failures"])
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


def duplicates(project: Project, force: bool = False, progress: Progress = print) -> Output:
    """Compare the accepted clips of all batches: which loses to which better copy."""
    store = project.store
    here = set(presence(project))
    videos = {row["video_id"]: row for row in store.read("videos", "status = 'ok'") if row["video_id"] in here}
    accepted = {row["clip_id"] for row in store.read("verdicts", "accepted", ["clip_id"])}
    rows = [row for row in store.read("clips") if row["clip_id"] in accepted and row["video_id"] in videos]
    batch_of = {row["clip_id"]: row["ingest_batch"] for row in rows}
    hashes = {row["clip_id"]: row for row in store.read("clip_scores", columns=["clip_id", "hashes", "packet_hash"])}
    candidates = [_candidate(row, videos[row["video_id"]], hashes[row["clip_id"]]) for row in rows]
    found = {one.clip_id: one for one in find_duplicates(candidates, project.config.duplicates.max_distance)}
    wanted = {clip_id: digest(asdict(one)) for clip_id, one in found.items()}
    output = sync_slice(
        store,
        "duplicates",
        "true",
        wanted,
        lambda misses: (asdict(found[clip_id]) | {"ingest_batch": batch_of[clip_id]} for clip_id in misses),
        force=force,
    )
    output.facts |= {"compared": len(candidates), "lost": dict(Counter(one.kind for one in found.values()))}
    return output


def _candidate(clip: Row, video: Row, hashes: Row) -> Candidate:
    duration = video["duration_s"]
    return Candidate(
        clip_id=clip["clip_id"],
        video_id=clip["video_id"],
        kind=clip["kind"],
        start_s=clip["start_s"],
        end_s=clip["end_s"],
        hashes=hashes["hashes"] or [],
        packet_hash=hashes["packet_hash"],
        pixels=video["width"] * video["height"],
        bit_rate=8 * video["size_bytes"] / duration if duration else float(video["size_bytes"]),
    )


def thumbnails(project: Project, video_ids: Iterable[str]) -> dict[str, list[Row]]:
    """The stored thumbnails of some videos: [{time_s, jpeg}, ...] for each."""
    where = one_of("video_id", sorted(set(video_ids))) + " AND `group` = 'thumbnails'"
    return {
        row["video_id"]: row["thumbnails"] or []
        for row in project.store.read("frame_stats", where, ["video_id", "thumbnails"])
    }
