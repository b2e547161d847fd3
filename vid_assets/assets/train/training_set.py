"""`training_set/<stage>`: who is in the stage's training set, which are held out, and the table version it pins.

What a training set pins, and how, is told in `pins`. An unchanged digest keeps its old pin. The held-out split is
decided once for each group of duplicate videos and never changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from model.errors import UserError
from vid_assets.assets.asset import Asset, Slice, Work
from vid_assets.assets.encode.stored_latents import statuses, stored
from vid_assets.assets.encode.text_embeddings import text_sources
from vid_assets.assets.queries import presence
from vid_assets.assets.slices import PRESENT
from vid_assets.assets.train.conditioning import COLUMNS, Conditioning, conditioning, of_sample
from vid_assets.assets.train.names import TRAINING_SET
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.store.cache import Output
from vid_assets.store.pins import pin, pinned_row, tag_name, verify_digest
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Row, Store, one_of

#: Bumped by hand with this file: membership, held-out split, digest.
TRAINING_SET_VERSION = "2"


#: Columns of the kinds of conditioning that training sets had not from the first.
_LATER = set(COLUMNS.values()) - {"embedding_key", "pooled_key", "image_key"}


class StaleInputsError(UserError, RuntimeError):
    """The data that a training set would be made from is not up to date."""


def training_set(work: Work) -> Output:
    """Freeze the members of the stage's training set under their digest.

    Raises `StaleInputsError` when anything it is made from is stale, unless `allow_stale` says to take what is there.
    """
    stale = work.stale()
    if stale and not work.options.get("allow_stale"):
        first = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in list(stale.items())[:5])
        more = f"; and {len(stale) - 5} more" if len(stale) > 5 else ""
        raise StaleInputsError(
            f"{work.asset.name} would be made from stale data: {first}{more}. Run `vid-assets run`, or materialize "
            f"these assets first. To train on what is there, set allow_stale: true in the run config of this asset."
        )
    store, buckets, stage = work.store, work.config["buckets"], work.runtime["stage"]
    present = set(presence(store))
    samples = [row for row in store.read("samples", one_of("bucket", buckets)) if row["video_id"] in present]
    status = statuses(store, (row["sample_id"] for row in samples))
    encoded = [row for row in samples if status.get(row["sample_id"]) == "ok"]
    unread = set(_unread(store))
    usable = [row for row in encoded if row["clip_id"] not in unread]
    conditions = conditioning(store, work.local, work.runtime["texts"], work.runtime["of_sample"], usable)
    whole = [row for row in usable if row["sample_id"] not in conditions.lacking]
    split_of = _splits(work, whole)
    chosen = [row for row in whole if row["video_id"] in split_of]
    members = {
        row["sample_id"]: _member(row, split_of[row["video_id"]], conditions.keys[row["sample_id"]]) for row in chosen
    }
    ordered = [members[sample_id] for sample_id in sorted(members)]
    if not ordered:
        raise StaleInputsError(
            f"{work.asset.name} has no member: {_why_empty(store, buckets, samples, usable, unread, conditions)}"
        )
    identity = digest([stage, [_identity(member) for member in ordered]])
    pinned = _pin(store, stage, identity, ordered)
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
            "left out, latent failed": len(samples) - len(encoded),
            "left out, caption cannot be read": len(encoded) - len(usable),
            "left out, an embedding failed": dict(sorted(Counter(conditions.lacking.values()).items())),
            "left out, copies of held-out videos": len(whole) - len(chosen),
            "stale inputs taken": list(stale),
        },
    )


def _why_empty(
    store: Store,
    buckets: Sequence[str],
    samples: list[Row],
    usable: list[Row],
    unread: Collection[str],
    conditions: Conditioning,
) -> str:
    """What became of the samples of a stage, none of which can be a member."""
    if not samples:
        return (
            f"no kept clip fills its buckets ({', '.join(buckets)}). `curated_clips` says why clips were rejected; a "
            "clip must last frames / fps seconds to fill a bucket."
        )
    if not usable and unread:
        return f"the captions of {len(unread)} clips cannot be read; the check of `captions` names the files."
    if not usable:
        found = stored(store, (row["sample_id"] for row in samples), ["error"])
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


def _identity(member: Row) -> list[tuple[str, Any]]:
    """What a member is; a later kind of conditioning is in it where a member has it, so that sets stay as they were."""
    return sorted((name, value) for name, value in member.items() if value is not None or name not in _LATER)


def _pin(store: Store, stage: str, identity: str, members: list[Row]) -> Row:
    """Write the members, then the row that names them; a digest that is whole already is left as it is."""
    row = pinned_row(store, identity)
    if row and verify_digest(store, identity) == identity:
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


def _splits(work: Work, samples: Iterable[Row]) -> dict[str, str]:
    """video_id -> `train` or `heldout`; decided for videos that have none yet, and stored for good.

    Copies of one another share a split, that of the first one. Where two that are split already turn out to be copies,
    the one that was trained on is left out from then on: it has no entry.
    """
    store, heldout = work.store, work.config["heldout"]
    kinds = {row["video_id"]: row["kind"] for row in samples}
    with work.lock("splits"):
        known = {row["video_id"]: row["split"] for row in store.read("splits")}
        groups = _duplicate_groups(store, kinds)
        decided: dict[str, str] = {}
        for group in groups:
            inherited = {known[video] for video in group if video in known}
            if inherited:
                split = "heldout" if "heldout" in inherited else "train"
            else:
                split = "heldout" if _fraction(min(group)) < heldout.share else "train"
            decided |= dict.fromkeys(group, split)
        _reach_minimum(heldout.minimum, groups, kinds, known, decided)
        now = datetime.now(UTC)
        fresh = [
            {"video_id": video, "group_video": min(group), "split": decided[video], "created_at": now}
            for group in groups
            for video in group
            if video not in known
        ]
        store.insert_absent("splits", fresh)
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


def _unread(store: Store) -> list[str]:
    """The clips whose caption is there and cannot be read: to train them on no text would be to train on another."""
    return sorted(row["clip_id"] for row in store.read("captions", "error IS NOT NULL", ["clip_id"]))


def _copies(store: Store) -> list[tuple[str, str]]:
    """Pairs of videos that share a clip, each once and in order."""
    return store.derived("copies", ("clips", "duplicates"), lambda: _pairs(store))


def _pairs(store: Store) -> list[tuple[str, str]]:
    rows = store.read("clips", columns=["clip_id", "video_id"])
    clip_video = {row["clip_id"]: row["video_id"] for row in rows}
    pairs = set()
    for row in store.read("duplicates", columns=["clip_id", "duplicate_of"]):
        one, other = clip_video.get(row["clip_id"]), clip_video.get(row["duplicate_of"])
        if one and other:
            pairs.add((min(one, other), max(one, other)))
    return sorted(pairs)


def _duplicate_groups(store: Store, videos: Iterable[str]) -> list[list[str]]:
    """The videos, those that share a clip with one another in one group."""
    parent: dict[str, str] = {video: video for video in videos}

    def root(video: str) -> str:
        while parent.setdefault(video, video) != video:
            video = parent[video]
        return video

    for one, other in _copies(store):
        parent[max(root(one), root(other))] = min(root(one), root(other))
    groups: dict[str, list[str]] = {}
    for video in sorted(parent):
        groups.setdefault(root(video), []).append(video)
    return list(groups.values())


def _verify(work: Work, state: AssetState) -> str | None:
    """The digest of the training set where it is whole."""
    return verify_digest(work.store, state.data_version)


def training_set_asset(stage: str, embedded: Sequence[str]) -> Asset:
    """The training set of a stage; `embedded` are the assets that give the states of its samples."""

    def config(config: Config, partition: str | None) -> dict[str, Any]:
        return {"buckets": list(config.stage(stage).buckets), "heldout": config.heldout}

    def runtime(config: Config, partition: str | None) -> dict[str, Any]:
        return {
            "stage": stage,
            "texts": text_sources(config),  # which embeddings those are that the inputs hold
            "of_sample": of_sample(config),
        }

    def doc(config: Config) -> str:
        return (
            f"The training set of stage {stage} ({', '.join(config.stage(stage).buckets)}), with its digest and pinned "
            "versions of the tables. Fails when anything that it is made from is stale."
        )

    return Asset(
        f"{TRAINING_SET}/{stage}",
        group="train",
        doc=doc,
        kinds=frozenset({"lancedb"}),
        tables=("training_sets", "training_set_members", "splits"),
        code_version=TRAINING_SET_VERSION,
        upstream=("latents", *embedded),
        slices=(PRESENT, COPIES, UNREAD),
        slices_of=("source_files",),
        config=config,
        runtime=runtime,
        run=training_set,
        verify=_verify,
        options={"allow_stale": "take data that is not up to date, and say so"},
        tolerant=True,
        automatic=lambda config: config.train.automatic,
    )


#: The clips whose captions are there and cannot be read. Without any, a state of the release before stands as it is.
UNREAD = Slice(
    lambda work: {"captions that cannot be read": digest(found)} if (found := _unread(work.store)) else {},
    tables=("captions",),
)

#: Which videos are copies of one another: these share a split. The release before did not record it, so a state of it
#: stands whatever the copies were then: a change between its last run and the first look of this release is not seen.
COPIES = Slice(
    lambda work: {"copies": digest(_copies(work.store))},
    tables=("duplicates", "clips"),
    adopted=("copies",),
)
