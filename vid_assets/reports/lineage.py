"""`vid-assets lineage`: from a checkpoint to its sources, stage by stage, and from a video to its checkpoints.

What is told is what is stored: the records in the runs' folders, the rows of `runs`, the members of training sets.
Where one of them was deleted since, the answer says so; it is never filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from vid_assets.assets.encode.stored_latents import stored
from vid_assets.home.named import video_named
from vid_assets.home.removal import removals
from vid_assets.home.runs import Run, chain, described, known_runs, with_descendants
from vid_assets.project import Project
from vid_assets.store.tables import Row, equals


def forward(project: Project, run: Run) -> dict[str, Any]:
    """A checkpoint's stages, newest first, each with its training set and the sources of that, as JSON holds it."""
    runs = chain(project, run)
    stages = []
    for number, one in enumerate(runs):
        notes = list(one.notes)
        if one.parent and number == len(runs) - 1:
            notes.append("the checkpoint that it started from is gone, and all that was known of it")
        stages.append(described(one) | {"training_set": _training_set(project, one.digest), "notes": notes})
    return {"checkpoint": described(run), "stages": stages}


def _training_set(project: Project, digest: str | None) -> dict[str, Any]:
    """A training set with its sources: for each its uris, and its clips with their present verdicts."""
    store = project.store
    members = store.read("training_set_members", equals("digest", digest)) if digest else []
    rows = store.read("training_sets", equals("digest", digest)) if digest else []
    notes = [] if members else ["its members were deleted; which sources it had is not known any more"]
    if members and not rows:
        notes.append("its pin was given up, so it cannot be trained on again; its members are still known")
    return {
        "digest": digest,
        "latents_version": rows[0]["latents_version"] if rows else None,
        "members": dict(sorted(Counter(f"{one['kind']} {one['split']}" for one in members).items())),
        "sources": _sources(project, members),
        "notes": notes,
    }


def _sources(project: Project, members: list[Row]) -> list[dict[str, Any]]:
    latents = stored(project.store, (one["sample_id"] for one in members), ["source_hash", "start_s"])
    gone = {sample: row["video_id"] for row in removals(project) for sample in row["sample_ids"] or ()}
    clip_of = {
        row["sample_id"]: row["clip_id"]
        for row in project.store.read_many("samples", "sample_id", latents, ["sample_id", "clip_id"])
    }
    by_video: dict[str | None, list[Row]] = {}
    for one in members:
        latent = latents.get(one["sample_id"])
        video = latent["source_hash"] if latent else gone.get(one["sample_id"])
        by_video.setdefault(video, []).append(one | {"clip_id": clip_of.get(one["sample_id"])})
    known = _where_from(project, [video for video in by_video if video])
    clips = _clips(project, set(clip_of.values()))
    sources = []
    for video, mine in sorted(by_video.items(), key=lambda item: (item[0] is None, item[0] or "")):
        by_clip: dict[str | None, list[Row]] = {}
        for one in mine:
            by_clip.setdefault(one["clip_id"], []).append(one)
        nothing = {"clip_id": None, "verdict": "no clip of the present holds it"}
        found = [clips.get(str(clip), nothing) | {"samples": _splits(rows)} for clip, rows in by_clip.items()]
        found.sort(key=lambda clip: (clip.get("start_s") is None, clip.get("start_s")))
        sources.append({"video_id": video, **known.get(video, _UNKNOWN), "samples": _splits(mine), "clips": found})
    return sources


_UNKNOWN: dict[str, Any] = {"uris": [], "state": "its latents were deleted, and with them what they were made from"}


def _splits(members: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(one["split"] for one in members).items()))


def _where_from(project: Project, videos: list[str]) -> dict[str | None, dict[str, Any]]:
    """Each video's uris, and whether it is still there."""
    down = {row["video_id"]: row for row in removals(project)}
    rows = project.store.read_many("sources", "video_id", videos, ["uri", "video_id", "state"])
    found: dict[str | None, dict[str, Any]] = {}
    for video in videos:
        mine = [row for row in rows if row["video_id"] == video]
        states = {row["state"] for row in mine}
        state = "present" if "present" in states else "its file is gone" if mine else "no file of it is known"
        if video in down:
            state = f"taken down on {down[video]['created_at']:%Y-%m-%d}"
        uris = {row["uri"] for row in mine} | set((down[video]["uris"] or []) if video in down else [])
        found[video] = {"uris": sorted(uris), "state": state}
    return found


def _clips(project: Project, clip_ids: set[str]) -> dict[str, dict[str, Any]]:
    """Clips with what the policy says of them now."""
    accepted = {row["clip_id"]: row for row in project.store.read_many("verdicts", "clip_id", clip_ids)}
    lost = {row["clip_id"]: row["duplicate_of"] for row in project.store.read_many("duplicates", "clip_id", clip_ids)}
    found = {}
    for row in project.store.read_many("clips", "clip_id", clip_ids):
        name = row["clip_id"]
        known = accepted.get(name, {}).get("accepted")
        verdict = "not judged" if known is None else "kept"
        if known is False:
            verdict = "rejected by " + ", ".join(one["rule"] for one in accepted[name]["failures"] or ())
        elif name in lost:
            verdict = f"lost to {lost[name]}"
        found[name] = {key: row[key] for key in ("clip_id", "start_s", "end_s", "kind")} | {"verdict": verdict}
    return found


def used_by(project: Project, what: str) -> dict[str, Any]:
    """The checkpoints that used a video: those trained on a set with samples of it, and those that started from them.

    `what` is a uri or path, the end of one, or the beginning of a video_id. Raises `ConfigError` where it means no
    video, or several.
    """
    video = video_named(project, what)
    down = [row for row in removals(project) if row["video_id"] == video]
    samples = {row["sample_id"] for row in project.store.read("latents", equals("source_hash", video), ["sample_id"])}
    samples |= {sample for row in down for sample in row["sample_ids"] or ()}
    splits: dict[str, list[Row]] = {}
    for row in project.store.read_many("training_set_members", "sample_id", samples, ["digest", "split"]):
        splits.setdefault(row["digest"], []).append(row)
    remembered = {folder for row in down for folder in row["checkpoints"] or ()}  # their members may be deleted
    runs = known_runs(project)
    trained = [run for run in runs if run.digest in splits or run.folder in remembered]
    found = [
        (
            run,
            {"samples": {}, "through": through.run_key}
            if through
            else {"samples": _splits(splits.get(str(run.digest), []))},
        )
        for run, through in with_descendants(trained, runs)
    ]
    return {
        "video_id": video,
        **_where_from(project, [video])[video],
        "checkpoints": [described(run) | how | {"notes": list(run.notes)} for run, how in found],
    }
