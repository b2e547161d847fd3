"""Everything that is known of a clip, in words: where it comes from, why it is kept or not, and what used it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vid_assets.assets.curate.duplicates import nearest_clips
from vid_assets.assets.curate.views import file_names
from vid_assets.assets.encode.latent_plan import clip_windows, latent_settings
from vid_assets.assets.encode.stored_latents import statuses
from vid_assets.assets.queries import presence
from vid_assets.curation.continuity import EVENTS
from vid_assets.curation.metrics import METRICS, RULES
from vid_assets.curation.policy import judge
from vid_assets.digests import SHOWN
from vid_assets.footage.shown import shown_by
from vid_assets.home.named import videos_named
from vid_assets.project import Project
from vid_assets.section import ConfigError
from vid_assets.store.tables import Row, equals, one_of, quote

_NEAREST = 3


def explain(project: Project, what: str) -> list[str]:
    """A text for each clip that `what` means: the beginning of a clip_id, or a file with or without `@seconds`.

    A file without any clip is explained by what went wrong with it. Raises `ConfigError` where nothing is meant.
    """
    clips = project.store.read("clips", f"starts_with(clip_id, {quote(what)})") if what else []
    if len(what) >= 4 and clips:
        return [_explain_clip(project, clip) for clip in clips]
    name, _, moment = what.rpartition("@")
    if not name or not _is_number(moment):
        name, moment = what, ""
    videos = videos_named(project, name)
    if not videos:
        raise ConfigError(f"{what}: no clip_id begins so, and no file that was ever seen is called so")
    texts = []
    for video_id in videos:
        found = project.store.read("clips", equals("video_id", video_id))
        if moment:
            at = float(moment)
            found = [row for row in found if row["start_s"] <= at < row["end_s"] or row["kind"] == "image"]
        texts += [_explain_clip(project, clip) for clip in sorted(found, key=lambda row: row["start_s"])]
        if not found:
            texts.append(_explain_file(project, video_id, moment))
    return texts


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _explain_file(project: Project, video_id: str, moment: str) -> str:
    (video,) = project.store.read("videos", equals("video_id", video_id)) or [{}]
    lines = _sources(project, video_id)
    proofs = project.store.read(
        "frame_stats", equals("video_id", video_id) + " AND `group` = 'proof'", ["error", "timestamps"]
    )
    times = (proofs[0]["timestamps"] if proofs else None) or []
    if project.store.count("removals", equals("video_id", video_id)):
        lines.append("taken down with `vid-assets remove`")
    elif not video:
        lines.append("its header has not been read yet; `vid-assets run` does")
    elif video["status"] != "ok":
        lines.append(f"not used: {video['error']}")
    elif not proofs:
        lines.append("it has not been decoded yet; `vid-assets run` does")
    elif not moment or not project.store.count("clips", equals("video_id", video_id)):
        reason = proofs[0]["error"] or "all of it is dissolves, fades or wipes, or lies between cuts too close together"
        lines.append(f"no clip: {reason}")
    elif not times or not times[0] <= float(moment) <= times[-1]:
        shown = f"{times[0]:.3f}-{times[-1]:.3f} s" if times else "no frame"
        lines.append(f"no clip at {moment} s: the file has frames at {shown}")
    else:
        lines.append(f"no clip at {moment} s: a transition, or trimmed at a cut")
    return "\n".join(lines)


def _explain_clip(project: Project, clip: Row) -> str:
    store = project.store
    here = equals("clip_id", clip["clip_id"])
    (video,) = store.read("videos", equals("video_id", clip["video_id"]))
    scores = store.read("clip_scores", here)
    lost = store.read("duplicates", here)
    lines = [_headline(clip), *_sources(project, clip["video_id"]), _picture(video)]
    if not scores:
        return "\n".join([*lines, "not scored yet; `vid-assets run` does"])
    score = scores[0]
    lines += [_verdict(project, clip, score, lost), "", *_rules(project, clip, score), "", *_found_inside(score)]
    lines += _nearest(project, clip)
    if not lost:
        lines += _windows(project, clip, video, score)
    return "\n".join([*lines, *_used_by(project, clip)])


def _headline(clip: Row) -> str:
    times = "a still" if clip["kind"] == "image" else f"{clip['start_s']:.3f}-{clip['end_s']:.3f} s"
    return f"clip {clip['clip_id']}, {times}, {clip['frame_count']} frames, divided by {clip['splitter']}"


def _sources(project: Project, video_id: str) -> list[str]:
    rows = project.store.read("sources", equals("video_id", video_id))
    return [f"file {row['uri']} ({row['state']}, {row['ingest_batch']})" for row in rows] or [f"video {video_id}"]


def _picture(video: Row) -> str:
    rate = f", {video['fps']:.3g} frames/s" if video["fps"] else ""
    how = f", not shown as it is stored: {done.rstrip(';').replace(';', ', ')}" if (done := shown_by(video)) else ""
    return f"     {video['codec']} in {video['container']}, {video['width']}x{video['height']}{rate}{how}"


def _verdict(project: Project, clip: Row, score: Row, lost: list[Row]) -> str:
    if score["score_error"]:
        return f"REJECTED: {score['score_error']}"
    if clip["video_id"] not in presence(project.store):
        return "NOT USED: its file is gone"
    failures = judge(clip["kind"], {name: score[name] for name in METRICS}, project.config.policy)
    stored = project.store.read("verdicts", equals("clip_id", clip["clip_id"]))
    fresh = stored and [one["rule"] for one in stored[0]["failures"]] == [one.rule for one in failures]
    note = "" if fresh else " (by the configuration as it is now; `vid-assets run` applies it)"
    if failures:
        return f"REJECTED by {', '.join(failure.rule for failure in failures)}{note}"
    if lost:
        return f"LOST to the better copy {lost[0]['duplicate_of'][:SHOWN]} ({lost[0]['kind']}){note}"
    return f"KEPT{note}"


def _rules(project: Project, clip: Row, score: Row) -> list[str]:
    policy, lines = project.config.policy, []
    shown = set()
    for rule in RULES:
        limit, value = getattr(policy, rule.name), score[rule.metric.name]
        shown.add(rule.metric.name)
        if clip["kind"] not in rule.metric.kinds:
            continue
        if limit is None:
            mark, words = " ", "off"
        else:
            good = value is not None and rule.keeps(value, limit)
            mark, words = ("✓" if good else "✗"), f"{rule.op} {limit:g}"
        measured = "not measured" if value is None else f"{value:.4g}"
        meant = f"  asked for: {rule.limit.doc}" if mark == "✗" else ""
        lines.append(f"{mark} {rule.name:26} {measured:>12}  {words:10} {rule.metric.unit}{meant}".rstrip())
    others = [name for name in METRICS if name not in shown and score[name] is not None]
    return lines + [f"  {name:26} {score[name]:>12.4g}  no rule" for name in others]


def _found_inside(score: Row) -> list[str]:
    events = score["continuity"] or []
    lines = [
        f"{event['start_s']:10.3f}-{event['end_s']:.3f} s  {event['kind']}, {event['value']:.3g}"
        for event in events[:20]
    ]
    if len(events) > 20:
        lines.append(f"           and {len(events) - 20} more")
    kinds = {event["kind"] for event in events}
    notes = [f"           {kind}: {EVENTS[kind]}" for kind in EVENTS if kind in kinds]
    return ["found inside:", *lines, *notes] if events else ["nothing found inside"]


def _nearest(project: Project, clip: Row) -> list[str]:
    near = nearest_clips(project.store, clip["clip_id"], _NEAREST)
    if not near:
        return ["no other kept clip to compare with"]
    clips = {
        row["clip_id"]: row for row in project.store.read("clips", one_of("clip_id", [one.clip_id for one in near]))
    }
    names = file_names(project, (row["video_id"] for row in clips.values()))
    limit = project.config.duplicates.max_distance
    lines = [f"nearest kept clips (a duplicate up to {limit} of 64 bits):"]
    for one in near:
        other = clips[one.clip_id]
        times = "" if other["kind"] == "image" else f" {other['start_s']:.2f}-{other['end_s']:.2f} s"
        mirrored = ", mirrored" if one.kind == "mirrored" else ""
        apart = ", no copy: its light moves otherwise" if one.moves_alike is False else ""
        name = names.get(other["video_id"])
        lines.append(f"  {one.distance:3} bits{mirrored}: {one.clip_id[:SHOWN]} {name}{times}{apart}")
    return lines


def _windows(project: Project, clip: Row, video: Row, score: Row) -> list[str]:
    (proof,) = project.store.read(
        "frame_stats", equals("video_id", clip["video_id"]) + " AND `group` = 'proof'", ["timestamps"]
    )
    plan = clip_windows(latent_settings(project.config), clip, video, score, proof["timestamps"] or [])
    samples = project.store.read("samples", equals("clip_id", clip["clip_id"]))
    status = statuses(project.store, (row["sample_id"] for row in samples))
    lines = []
    for name in sorted({one.bucket.name for one in plan.windows} | {one.bucket for one in plan.left_out}):
        windows = [one for one in plan.windows if one.bucket.name == name]
        stored = sum(status.get(row["sample_id"]) == "ok" for row in samples if row["bucket"] == name)
        lines.append(f"  {name}: {len(windows)} windows, {stored} with a latent")
        lines += [
            f"    {one.start_s:.3f}-{one.end_s:.3f} s left out: {one.reason}"
            for one in plan.left_out
            if one.bucket == name
        ]
    return ["training windows, were it kept:" if not samples else "training windows:", *lines] if lines else []


def _used_by(project: Project, clip: Row) -> list[str]:
    store = project.store
    samples = {row["sample_id"] for row in store.read("samples", equals("clip_id", clip["clip_id"]), ["sample_id"])}
    members = store.read("training_set_members", one_of("sample_id", sorted(samples)), ["digest", "split"])
    if not members:
        return ["used by no training set"]
    lines = []
    for row in store.read("training_sets", one_of("digest", sorted({one["digest"] for one in members}))):
        mine = [one for one in members if one["digest"] == row["digest"]]
        lines.append(f"  training_set/{row['stage']} {row['digest'][:SHOWN]}: {_splits(mine)}")
        for run in store.read("runs", equals("digest", row["digest"])):
            lines.append(f"    checkpoint/{run['stage']} of {run['experiment']}: {run['folder']}")
    return ["used by:", *lines]


def _splits(members: Iterable[dict[str, Any]]) -> str:
    counts: dict[str, int] = {}
    for one in members:
        counts[one["split"]] = counts.get(one["split"], 0) + 1
    return ", ".join(f"{count} in {split}" for split, count in sorted(counts.items()))
