"""`training_set/<stage>`: who is in the stage's training set, which are held out, and the table version it pins.

What a training set pins, and how, is told in `pins`. An unchanged digest keeps its old pin. The held-out split is
decided once for each group of duplicate videos and never changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from vid_assets.project import Project
from vid_assets.stage_inputs import presence
from vid_assets.staleness import SETTLED, standings
from vid_assets.steps.conditioning import Conditioning, conditioning
from vid_assets.steps.latents import statuses, stored
from vid_assets.steps.pins import pin, pinned_row, tag_name, verify_digest
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row, one_of

Progress = Callable[[str], None]
_DATA_ASSETS = (
    "raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "text_embeddings", "duplicates",
    "vae", "latents", "image_embeddings",
)  # fmt: skip


class StaleInputsError(RuntimeError):
    """The data that a training set would be made from is not up to date."""


def training_set(
    project: Project, stage: str, force: bool = False, progress: Progress = print, allow_stale: bool = False
) -> Output:
    """Freeze the members of a stage's training set under their digest.

    Raises `StaleInputsError` when anything it is made from is stale, unless `allow_stale` says to take what is there.
    """
    stale = [one for one in standings(project, _DATA_ASSETS) if one.condition not in SETTLED]
    if stale and not allow_stale:
        first = "; ".join(f"{one.name}: {', '.join(one.reasons)}" for one in stale[:5])
        more = f"; and {len(stale) - 5} more" if len(stale) > 5 else ""
        raise StaleInputsError(
            f"training_set/{stage} would be made from stale data: {first}{more}. Run `vid-assets run`, or materialize "
            f"these assets first. To train on what is there, set allow_stale: true in the run config of this asset."
        )
    store = project.store
    buckets = project.config.stage(stage).buckets
    present = set(presence(project))
    samples = [row for row in store.read("samples", one_of("bucket", buckets)) if row["video_id"] in present]
    status = statuses(project, (row["sample_id"] for row in samples))
    usable = [row for row in samples if status.get(row["sample_id"]) == "ok"]
    conditions = conditioning(project, usable)
    whole = [row for row in usable if row["sample_id"] not in conditions.lacking]
    split_of = _splits(project, whole)
    chosen = [row for row in whole if row["video_id"] in split_of]
    members = {
        row["sample_id"]: _member(row, split_of[row["video_id"]], conditions.keys[row["sample_id"]]) for row in chosen
    }
    ordered = [members[sample_id] for sample_id in sorted(members)]
    if not ordered:
        raise StaleInputsError(
            f"training_set/{stage} has no member: {_why_empty(project, buckets, samples, usable, conditions)}"
        )
    identity = digest([stage, [sorted(member.items()) for member in ordered]])
    pinned = _pin(project, stage, identity, ordered)
    counts = Counter((member["kind"], member["split"]) for member in ordered)
    return Output(
        identity,
        identity,
        rows=len(ordered),
        computed=0 if pinned["kept"] else len(ordered),
        cached=len(ordered) if pinned["kept"] else 0,
        facts={
            "digest": identity,
            "latents version": pinned["latents_version"],
            "tag": pinned["tag"],
            "pin": "kept" if pinned["kept"] else "new",
            "members": {f"{kind} {split}": count for (kind, split), count in sorted(counts.items())},
            "by bucket": dict(sorted(Counter(member["bucket"] for member in ordered).items())),
            "left out, latent failed": len(samples) - len(usable),
            "left out, an embedding failed": dict(sorted(Counter(conditions.lacking.values()).items())),
            "left out, copies of held-out videos": len(whole) - len(chosen),
            "stale inputs taken": [one.name for one in stale],
        },
    )


def _why_empty(
    project: Project, buckets: Sequence[str], samples: list[Row], usable: list[Row], conditions: Conditioning
) -> str:
    """What became of the samples of a stage, none of which can be a member."""
    if not samples:
        return (
            f"no kept clip fills its buckets ({', '.join(buckets)}). `curated_clips` says why clips were rejected; a "
            "clip must last frames / fps seconds to fill a bucket."
        )
    if not usable:
        found = stored(project, (row["sample_id"] for row in samples), ["error"])
        reasons = sorted({row["error"] for row in found.values() if row["error"]})[:3]
        told = "; ".join(reasons) or "none was made"
        return (
            f"none of its {len(samples)} samples has a latent: {told}; the metadata of `latents` counts the failures."
        )
    if len(conditions.lacking) == len(usable):
        kinds = ", ".join(f"{kind} of {count}" for kind, count in Counter(conditions.lacking.values()).most_common())
        return (
            f"none of its {len(usable)} samples has all of its embeddings: {kinds}; the metadata of `text_embeddings` "
            "and `image_embeddings` says why."
        )
    return "all samples that are left are copies of held-out videos."


def _member(sample: Row, split: str, embeddings: Row) -> Row:
    return {
        "sample_id": sample["sample_id"],
        "caption_key": sample["caption_key"],
        **embeddings,
        "split": split,
        "bucket": sample["bucket"],
        "kind": sample["kind"],
    }


def _pin(project: Project, stage: str, identity: str, members: list[Row]) -> Row:
    """Write the members, then the row that names them; a digest that is whole already is left as it is."""
    store = project.store
    row = pinned_row(project, identity)
    if row and verify_digest(project, identity) == identity:
        return row | {"kept": True}
    tagged = [{"member_id": f"{identity}/{one['sample_id']}", "digest": identity, **one} for one in members]
    store.insert_absent("training_set_members", tagged)
    versions = pin(store, identity)
    counts = Counter(one["kind"] for one in members)
    splits = Counter(one["split"] for one in members)
    row = {
        "digest": identity,
        "stage": stage,
        **versions,
        "tag": tag_name(identity),
        "videos": counts["video"],
        "images": counts["image"],
        "train": splits["train"],
        "heldout": splits["heldout"],
        "created_at": datetime.now(UTC),
    }
    store.upsert("training_sets", [row])
    return row | {"kept": False}


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The digest of the training set where it is whole."""
    return verify_digest(project, state.data_version)


def _splits(project: Project, samples: Iterable[Row]) -> dict[str, str]:
    """video_id -> `train` or `heldout`; decided for videos that have none yet, and stored for good.

    Copies of one another share a split, that of the first one. Where two that are split already turn out to be copies,
    the one that was trained on is left out from then on: it has no entry.
    """
    kinds = {row["video_id"]: row["kind"] for row in samples}
    with project.states.lock("training_set", "splits"):
        known = {row["video_id"]: row["split"] for row in project.store.read("splits")}
        groups = _duplicate_groups(project, kinds)
        decided: dict[str, str] = {}
        for group in groups:
            inherited = {known[video] for video in group if video in known}
            if inherited:
                split = "heldout" if "heldout" in inherited else "train"
            else:
                split = "heldout" if _fraction(min(group)) < project.config.heldout.share else "train"
            decided |= dict.fromkeys(group, split)
        _reach_minimum(project.config.heldout.minimum, groups, kinds, known, decided)
        now = datetime.now(UTC)
        fresh = [
            {"video_id": video, "group_video": min(group), "split": decided[video], "created_at": now}
            for group in groups
            for video in group
            if video not in known
        ]
        project.store.insert_absent("splits", fresh)
    return {video: decided[video] for video in kinds if known.get(video, decided[video]) == decided[video]}


def _reach_minimum(
    minimum: int, groups: list[list[str]], kinds: dict[str, str], known: dict[str, str], decided: dict[str, str]
) -> None:
    """Hold out further new groups with videos, in the order of their hash, until there are enough."""
    videos = [group for group in groups if any(kinds.get(video) == "video" for video in group)]
    lacking = minimum - sum(decided[group[0]] == "heldout" for group in videos)
    for group in sorted(videos, key=lambda group: _fraction(min(group))):
        if lacking <= 0:
            return
        if decided[group[0]] == "train" and not any(video in known for video in group):
            decided.update(dict.fromkeys(group, "heldout"))
            lacking -= 1


def _fraction(video_id: str) -> float:
    """A number in [0, 1) that only the video decides."""
    return int(digest(["split", video_id])[:13], 16) / 16**13


def _duplicate_groups(project: Project, videos: Iterable[str]) -> list[list[str]]:
    """The videos, those that share a clip with one another in one group."""
    clip_video = {
        row["clip_id"]: row["video_id"] for row in project.store.read("clips", columns=["clip_id", "video_id"])
    }
    parent: dict[str, str] = {video: video for video in videos}

    def root(video: str) -> str:
        while parent.setdefault(video, video) != video:
            video = parent[video]
        return video

    for row in project.store.read("duplicates", columns=["clip_id", "duplicate_of"]):
        one, other = clip_video.get(row["clip_id"]), clip_video.get(row["duplicate_of"])
        if one and other:
            parent[max(root(one), root(other))] = min(root(one), root(other))
    groups: dict[str, list[str]] = {}
    for video in sorted(parent):
        groups.setdefault(root(video), []).append(video)
    return list(groups.values())
