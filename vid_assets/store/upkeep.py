"""Upkeep of the tables: fewer files, fewer versions, and bytes that nothing can reach any more given back.

`tidy` runs beside everything else: it never touches a version that has a tag, nor one younger than `GRACE`. `reclaim`
leaves nothing but the newest version and the tagged ones; for who has the home to himself (`StateFolder.alone`).

Blobs are copied when their fragment is compacted, and the old copy stays for as long as a tag pins it. So `tidy` joins
small fragments only, up to `FULL_ROWS`, and a full one is never copied again; `reclaim` copies none that a tag pins.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from vid_assets.store.place import files_at
from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.tables import Store, StoreError

log = logging.getLogger(__name__)
#: A version without a tag stays readable for this long after the next one was written.
GRACE = timedelta(hours=1)
#: A table with more versions than this is tidied (each write makes one), and its fragments with more small ones.
MANY = 32
#: Fragments of a table with blobs grow no larger than this: about 0.2 GB of small latents, 4 GB of large ones.
FULL_ROWS = 1024
#: Rows that compaction holds in memory at a time where they have blobs.
_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Tidied:
    """What upkeep did to a table."""

    table: str
    fragments_before: int
    fragments_after: int
    versions_removed: int
    bytes_freed: int

    def __str__(self) -> str:
        return (
            f"{self.table}: {self.fragments_before} -> {self.fragments_after} fragments, {self.versions_removed} old "
            f"versions dropped, {self.bytes_freed:,} bytes freed"
        )


def tidy_all(store: Store) -> list[Tidied]:
    """`tidy` every table that needs it. Where that fails, what is stored is as good as before: it is logged."""
    done = []
    for name in table_names():
        try:
            found = tidy(store, name)
        except (StoreError, OSError) as error:
            log.warning("%s was not tidied: %s", name, error)
            continue
        if found:
            done.append(found)
    return done


def tidy(store: Store, name: str, grace: timedelta | None = None, many: int | None = None) -> Tidied | None:
    """Drop old versions where there are more than `many`, and join small fragments where these are; else None.

    Safe beside readers and writers: tagged versions and those younger than `grace` stay, and so do the files of writes
    that are not committed yet.
    """
    grace, many = GRACE if grace is None else grace, MANY if many is None else many
    if _versions(store, name) <= many:  # few fragments too: each came with a version
        return None
    fragments = _dataset(store, name).get_fragments()
    full = FULL_ROWS if _has_blobs(name) else 1 << 20
    if sum(fragment.count_rows() < full for fragment in fragments) > many:
        compact(store, name, full, deleted_share=0.1)
    versions, freed = _clean(store, name, grace, unverified=False)
    after = len(_dataset(store, name).get_fragments())
    if not versions and after == len(fragments):  # all are young, or tagged
        return None
    return Tidied(name, len(fragments), after, versions, freed)


def compact(store: Store, name: str, full_rows: int, deleted_share: float, keep: Iterable[int] = ()) -> None:
    """Join fragments of fewer than `full_rows` rows, rewrite those of which more than a share was deleted.

    `keep` names fragments that are left as they are. The bytes of blobs stay the same; row addresses do not.
    """
    excluded = sorted(keep)

    def write() -> None:
        _dataset(store, name).optimize.compact_files(
            target_rows_per_fragment=full_rows,
            materialize_deletions_threshold=deleted_share,
            batch_size=_ROWS_AT_ONCE if _has_blobs(name) else None,
            excluded_fragment_ids=excluded or None,
        )

    with store.writing(name):
        store.commit(name, write)


def reclaim(store: Store, name: str) -> int:
    """Give back the bytes of deleted rows, old versions and killed writes; returns how many. Only for who is alone."""
    before = store.bytes_on_disk(name)
    drop_deleted(store, name)
    drop_versions(store, name)
    return max(0, before - store.bytes_on_disk(name))


def drop_deleted(store: Store, name: str, loose: Collection[str] = ()) -> None:
    """Write anew what holds deleted rows, so that no file of the newest version does.

    A fragment that a tagged version pins stays as it is: to copy the rest of it would free nothing. Tags in `loose`
    do not count, as they are about to go or to move.
    """
    if not store.exists(name):
        return
    dataset = _dataset(store, name)
    pinned = {path for version in _tagged(dataset, loose) for path in _data_files(dataset.checkout_version(version))}
    fragments = dataset.get_fragments()
    stay = {one.fragment_id for one in fragments if any(file.path in pinned for file in one.data_files())}
    if any(one.fragment_id not in stay and one.num_deletions for one in fragments):
        # fragments full at one row: none is joined with another, only what holds deleted rows is written anew
        compact(store, name, full_rows=1, deleted_share=0.0, keep=stay)


def drop_versions(store: Store, name: str) -> None:
    """Remove all versions but the newest and the tagged ones, and what killed writes left. Only for who is alone."""
    if store.exists(name):
        _clean(store, name, timedelta(0), unverified=True)


def tags(store: Store, name: str) -> set[str]:
    """The tags of a table."""
    return set(store.table(name).tags.list()) if store.exists(name) else set()


def drop_tags(store: Store, name: str, doomed: Iterable[str]) -> None:
    """Remove these tags from a table, where they are there."""
    for tag in tags(store, name) & set(doomed):
        store.table(name).tags.delete(tag)


def holds_more(store: Store, name: str, version: int) -> bool:
    """Whether a version that is pinned keeps files on the disk that the newest version does not need."""
    dataset = _dataset(store, name)
    return not set(_data_files(dataset.checkout_version(version))) <= set(_data_files(dataset))


def leftover_bytes(store: Store, name: str, loose: Collection[str] = ()) -> int:
    """Bytes of data files that neither the newest version refers to nor one with a tag, those in `loose` aside."""
    if not store.exists(name):
        return 0
    dataset = _dataset(store, name)
    used = set(_data_files(dataset))
    for version in _tagged(dataset, loose):
        used |= set(_data_files(dataset.checkout_version(version)))
    stems = {Path(path).stem for path in used}
    return sum(size for path, size in store.files(name) if path.startswith("data/") and _stem(path) not in stems)


def _stem(path: str) -> str:
    """What a file below `data/` belongs to: `data/X.lance`, and the blobs `data/X/...` beside it."""
    return path.split("/")[1].removesuffix(".lance")


def _dataset(store: Store, name: str) -> Any:
    return store.table(name).to_lance()


def _versions(store: Store, name: str) -> int:
    """How many versions a table has, 0 where there is none. Listed, as Lance would read the manifest of each."""
    return sum(path.endswith(".manifest") for path in files_at(f"{store.table_uri(name)}/_versions").sizes())


def _has_blobs(name: str) -> bool:
    import pyarrow as pa

    return any(isinstance(field.type, pa.ExtensionType) for field in table_spec(name).columns)


def _tagged(dataset: Any, besides: Collection[str] = ()) -> set[int]:
    return {int(tag["version"]) for name, tag in dataset.tags.list().items() if name not in besides}


def _data_files(dataset: Any) -> list[str]:
    return [file.path for fragment in dataset.get_fragments() for file in fragment.data_files()]


def _clean(store: Store, name: str, grace: timedelta, unverified: bool) -> tuple[int, int]:
    """Drop the untagged versions older than `grace`; how many, and the bytes that were freed.

    `unverified`: the files of writes that were never committed too, which may be under way where others write.
    """
    with store.writing(name):
        done = store.commit(
            name,
            lambda: _dataset(store, name).cleanup_old_versions(
                older_than=grace, delete_unverified=unverified, error_if_tagged_old_versions=False
            ),
        )
    return done.old_versions, done.bytes_removed
