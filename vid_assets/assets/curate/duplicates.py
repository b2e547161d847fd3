"""`duplicates`: which kept clip loses to which better copy, across all batches; and what resembles a clip.

Reads scores, never a video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.curate.views import duplicate_views
from vid_assets.assets.queries import presence
from vid_assets.assets.slices import PRESENT
from vid_assets.curation.duplicates import (
    DUPLICATES_VERSION,
    Candidate,
    Duplicate,
    continuous_shots,
    find_duplicates,
)
from vid_assets.curation.nearest import Near, nearest
from vid_assets.curation.tracks import Track, from_columns
from vid_assets.digests import digest
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row, Store


def duplicates(work: Work) -> Output:
    """Compare the accepted clips of all batches."""
    accepted = {row["clip_id"] for row in work.store.read("verdicts", "accepted", ["clip_id"])}
    candidates, batch_of = _candidates(work.store, accepted)
    found = {one.clip_id: one for one in find_duplicates(candidates, work.config["duplicates"].max_distance)}
    wanted = {clip_id: digest(vars(one)) for clip_id, one in found.items()}
    output = sync_slice(
        work.store,
        "duplicates",
        "true",
        wanted,
        lambda misses: (vars(found[clip_id]) | {"ingest_batch": batch_of[clip_id]} for clip_id in misses),
        flush_rows=20_000,
        force=work.force,
    )
    output.facts |= {"compared": len(candidates), "lost": dict(Counter(one.kind for one in found.values()))}
    return output


def losers(store: Store, accepted: Container[str], max_distance: int) -> list[Duplicate]:
    """What `duplicates` would find if `accepted` were the accepted clips, up to `max_distance` of 64 bits apart."""
    candidates, _ = _candidates(store, accepted)
    return find_duplicates(candidates, max_distance)


def nearest_clips(store: Store, clip_id: str, count: int) -> list[Near]:
    """The kept clips that look most like a clip, whether it is kept or not."""
    kept = {row["clip_id"] for row in store.read("verdicts", "accepted", ["clip_id"])}
    kept -= {row["clip_id"] for row in store.read("duplicates", columns=["clip_id"])}
    candidates, _ = _candidates(store, kept | {clip_id})
    clip = next((one for one in candidates if one.clip_id == clip_id), None)
    return nearest(clip, candidates, count) if clip else []


def _candidates(store: Store, clip_ids: Container[str]) -> tuple[list[Candidate], dict[str, str]]:
    """Those of these clips whose video is present, ready to be compared, and the batch of each."""
    here = set(presence(store))
    videos = {row["video_id"]: row for row in store.read("videos", "status = 'ok'") if row["video_id"] in here}
    columns = ["clip_id", "video_id", "ingest_batch", "kind", "start_s", "end_s"]
    known = [row for row in store.read("clips", columns=columns) if row["video_id"] in videos]
    shots = continuous_shots((row["video_id"], row["start_s"], row["end_s"]) for row in known)
    rows = {row["clip_id"]: row for row in known if row["clip_id"] in clip_ids}
    scores = store.read_arrow("clip_scores", columns=["clip_id", "hashes", "quarters", "packet_hash", "crop"])
    tracks = from_columns(scores["hashes"], scores["quarters"])
    others = (scores[name].to_pylist() for name in ("clip_id", "packet_hash", "crop"))
    candidates = [
        _candidate(rows[clip_id], videos[rows[clip_id]["video_id"]], shots, track, packet_hash, crop)
        for track, clip_id, packet_hash, crop in zip(tracks, *others, strict=True)
        if clip_id in rows
    ]
    return candidates, {clip_id: row["ingest_batch"] for clip_id, row in rows.items()}


def _candidate(
    clip: Row, video: Row, shots: dict[tuple[str, float], str], track: Track, packet_hash: str | None, crop: list[int]
) -> Candidate:
    duration = video["duration_s"]
    width, height = crop[2:] if crop else (video["width"], video["height"])
    return Candidate(
        clip_id=clip["clip_id"],
        video_id=clip["video_id"],
        shot=shots[clip["video_id"], clip["start_s"]],
        kind=clip["kind"],
        start_s=clip["start_s"],
        end_s=clip["end_s"],
        track=track,
        packet_hash=packet_hash,
        pixels=width * height,
        interlaced=bool(video["is_interlaced"]),
        bit_rate=8 * video["size_bytes"] / duration if duration else float(video["size_bytes"]),
    )


ASSET = Asset(
    "duplicates",
    group="curate",
    doc="Compares the kept clips of all batches: which one loses to which better copy. Opens no video.",
    kinds=frozenset({"numpy", "lancedb"}),
    tables=("duplicates",),
    code_version=DUPLICATES_VERSION,
    upstream=("raw_videos", "clip_scores", "curated_clips"),
    slices=(PRESENT,),
    slices_of=("source_files",),
    reads=("clips",),  # the id of a clip, which its scores have, is a hash of what is read of it
    config=lambda config, partition: {"duplicates": config.duplicates},
    run=duplicates,
    views=lambda project, partition, facts: duplicate_views(project),
    tolerant=True,
)
