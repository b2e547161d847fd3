"""What a training set pins: the versions of three tables, each held by a Lance tag that no clean-up touches.

A pin is whole where the row in `training_sets`, its members and its tags agree. To move one to the newest versions
changes nothing of what is read, as the digest names the members and each member its bytes; it only lets go of the old
files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model.data.kinds import KINDS
from vid_assets.store import upkeep
from vid_assets.store.tables import Row, Store, equals

#: What a training set pins: name in its row -> table.
PINNED = {"latents": "latents", "members": "training_set_members", "embeddings": "embeddings"}
_PREFIX = "training-set-"


def tag_name(identity: str) -> str:
    """The tag of the training set with this digest."""
    return f"{_PREFIX}{identity[:16]}"


def pinned_row(store: Store, identity: str) -> Row | None:
    """The row of `training_sets` with this digest."""
    rows = store.read("training_sets", equals("digest", identity))
    return rows[0] if rows else None


def pin(store: Store, identity: str) -> dict[str, int]:
    """Tag the present versions, so that no clean-up removes them; the columns of the training set's row that say so."""
    versions = current_versions(store)
    move_tags(store, tag_name(identity), versions)
    return versions


def current_versions(store: Store) -> dict[str, int]:
    """The newest versions of the tables, by the column of `training_sets` that names them."""
    return {f"{name}_version": int(store.table(table).version) for name, table in PINNED.items()}


def move_tags(store: Store, tag: str, versions: Mapping[str, int]) -> None:
    """Put the tag on these versions of the pinned tables."""
    for name, table in PINNED.items():
        change = store.table(table).tags
        (change.update if tag in upkeep.tags(store, table) else change.create)(tag, versions[f"{name}_version"])


def drop_tags(store: Store, tags: Iterable[str]) -> None:
    """Remove these tags from the pinned tables, where they are there."""
    doomed = set(tags)
    for table in PINNED.values():
        upkeep.drop_tags(store, table, doomed)


def all_tags(store: Store) -> set[str]:
    """The tags of training sets on any pinned table."""
    return {tag for table in PINNED.values() for tag in upkeep.tags(store, table) if tag.startswith(_PREFIX)}


def verify_digest(store: Store, identity: str) -> str | None:
    """`identity` where its row, its members and its tagged versions are all there, else None."""
    row = pinned_row(store, identity)
    if row is None:
        return None
    for name, table in PINNED.items():
        tags = store.table(table).tags.list()
        if tags.get(row["tag"], {}).get("version") != row[f"{name}_version"]:
            return None
    members = store.count("training_set_members", equals("digest", identity))
    return identity if members == row["train"] + row["heldout"] else None


def movable(store: Store, rows: Iterable[Row]) -> list[Row]:
    """Those of some rows of `training_sets` whose members' latents and embeddings are all in the newest versions."""
    latents = {row["sample_id"] for row in store.read("latents", "status = 'ok'", ["sample_id"])}
    embeddings = {row["key"] for row in store.read("embeddings", columns=["key"])}
    whole = []
    for row in rows:
        members = store.read("training_set_members", equals("digest", row["digest"]))
        keys = {key for member in members for key in embedding_keys(member)}
        samples = {member["sample_id"] for member in members}
        if len(members) == row["train"] + row["heldout"] and samples <= latents and keys <= embeddings:
            whole.append(row)
    return whole


def hold_more(store: Store, row: Row) -> bool:
    """Whether the versions that a training set pins keep files on the disk that the newest versions do not need."""
    return any(upkeep.holds_more(store, table, row[f"{name}_version"]) for name, table in PINNED.items())


def embedding_keys(member: Row) -> list[str]:
    """The keys of the embeddings of a row of `training_set_members`."""
    return [key for kind in KINDS.values() if (key := member.get(kind.column)) is not None]


def move(store: Store, rows: Iterable[Row]) -> None:
    """Pin the newest versions for these rows of `training_sets`. The row goes first: a kill in between is noticed."""
    for row in rows:
        versions = current_versions(store)
        store.upsert("training_sets", [row | versions])
        move_tags(store, row["tag"], versions)
