"""Upkeep of tables: bytes stay, pinned versions stay readable, and what nothing can reach is gone from the disk."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pytest

from vid_assets.store import tables, upkeep
from vid_assets.store.tables import Store, StoreError, equals

NOW = timedelta(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "home"))


def payload(name: str) -> bytes:
    return (name.encode() + b"/") * 400


def fill(store: Store, *names: str, source: str = "v") -> None:
    """A flush for each name, as an encoder writes them."""
    for name in names:
        row = {"sample_id": name, "source_hash": source, "status": "ok", "latent": payload(name)}
        store.insert_absent("latents", [row])


def blobs(store: Store) -> dict[str, bytes]:
    return {row["sample_id"]: blob for row, blob in store.read_blobs("latents", "true", "latent")}


def on_disk(store: Store, name: str) -> bool:
    files = [path.read_bytes() for path in Path(store.table_uri("latents")).rglob("*") if path.is_file()]
    return any(payload(name) in data for data in files)


def fragments(store: Store) -> int:
    return len(store.table("latents").to_lance().get_fragments())


def pin(store: Store, tag: str) -> int:
    table = store.table("latents")
    table.tags.create(tag, table.version)
    return int(table.version)


def test_many_flushes_become_few_files_with_the_same_bytes(store):
    names = [f"s{number:02d}" for number in range(12)]
    fill(store, *names)
    done = upkeep.tidy(store, "latents", grace=NOW, many=8)
    assert (done.fragments_before, done.fragments_after) == (12, 1)
    assert done.bytes_freed > 12 * len(payload("s00"))
    assert blobs(store) == {name: payload(name) for name in names}
    assert len(store.table("latents").to_lance().versions()) == 1
    assert upkeep.tidy(store, "latents", grace=NOW, many=8) is None


def test_a_pinned_version_stays_as_it_was(store):
    fill(store, *"abcde")
    version = pin(store, "training-set-1")
    fill(store, *"fghij")
    store.delete("latents", equals("sample_id", "a"))
    upkeep.tidy(store, "latents", grace=NOW, many=4)
    upkeep.reclaim(store, "latents")
    assert sorted(blobs(store)) == list("bcdefghij")
    pinned = lance.dataset(store.table_uri("latents"), version=version)
    found = pinned.to_table(columns=["sample_id"], with_row_address=True).to_pylist()
    assert [row["sample_id"] for row in found] == list("abcde")
    read = pinned.take_blobs("latent", addresses=[row["_rowaddr"] for row in found])
    assert [blob.readall() for blob in read] == [payload(name) for name in "abcde"]


def test_a_full_fragment_is_not_copied_again(store, monkeypatch):
    monkeypatch.setattr(upkeep, "FULL_ROWS", 4)
    fill(store, *"abcdefgh")
    upkeep.tidy(store, "latents", many=3)
    full = {file.path for one in store.table("latents").to_lance().get_fragments() for file in one.data_files()}
    assert len(full) == 2
    fill(store, *"ijklm")
    upkeep.tidy(store, "latents", many=3)
    files = {file.path for one in store.table("latents").to_lance().get_fragments() for file in one.data_files()}
    assert full < files and fragments(store) == 3
    assert sorted(blobs(store)) == list("abcdefghijklm")


def test_a_reader_of_the_version_before_goes_on_reading(store):
    fill(store, *"abcdef")
    reader = store.table("latents").to_lance()
    upkeep.tidy(store, "latents", many=2)
    assert fragments(store) == 1
    rows = reader.to_table(columns=["sample_id"], with_row_id=True).to_pylist()
    read = reader.take_blobs("latent", ids=[row["_rowid"] for row in rows])
    assert {row["sample_id"]: blob.readall() for row, blob in zip(rows, read)} == {n: payload(n) for n in "abcdef"}


def test_rows_of_many_writers_survive_upkeep_beside_them(store):
    """Each writer and each upkeep in a thread of its own, as runs of several batches are."""
    errors: list[BaseException] = []

    def work(action: Any) -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    def keep_up() -> None:
        for _ in range(4):
            upkeep.tidy(Store(store.home), "latents", grace=NOW, many=2)

    names = [[f"{writer}{number}" for number in range(8)] for writer in "xyz"]
    actions = [lambda mine=mine: fill(Store(store.home), *mine) for mine in names] + [keep_up]
    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert blobs(store) == {name: payload(name) for mine in names for name in mine}


def test_reclaiming_takes_deleted_bytes_and_what_a_killed_write_left_from_the_disk(store):
    fill(store, *"abc")
    store.delete("latents", equals("sample_id", "b"))
    left = Path(store.table_uri("latents"), "data", "0123abcd.lance")
    left.write_bytes(payload("killed"))
    assert on_disk(store, "b") and on_disk(store, "killed")
    assert upkeep.reclaim(store, "latents") > 0
    assert not on_disk(store, "b") and not on_disk(store, "killed")
    assert blobs(store) == {"a": payload("a"), "c": payload("c")}
    assert upkeep.leftover_bytes(store, "latents") == 0


def test_reclaiming_copies_nothing_that_a_pin_holds_in_any_case(store):
    fill(store, *"ab")
    pin(store, "training-set-1")
    before = store.bytes_on_disk("latents")
    store.delete("latents", equals("sample_id", "a"))
    upkeep.reclaim(store, "latents")
    assert store.bytes_on_disk("latents") < before + len(payload("a"))
    assert on_disk(store, "a")


def test_leftover_bytes_are_those_that_reclaiming_frees(store):
    fill(store, *"abcd")
    assert upkeep.leftover_bytes(store, "latents") == 0
    upkeep.compact(store, "latents", 100, 0.1)
    found = upkeep.leftover_bytes(store, "latents")
    assert found >= 4 * len(payload("a"))
    assert upkeep.reclaim(store, "latents") >= found


def test_a_commit_conflict_is_tried_again_and_given_up_in_words(store, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(tables.time, "sleep", waits.append)
    tries = []

    def write(failures: int) -> str:
        tries.append(1)
        if len(tries) <= failures:
            raise OSError("Retryable commit conflict for version 8: preempted by a concurrent transaction")
        return "written"

    assert store.commit("latents", lambda: write(3)) == "written"
    assert len(waits) == 3 and waits == sorted(waits)
    with pytest.raises(StoreError, match=r"latents\.lance: another process keeps writing to this table; gave up after"):
        store.commit("latents", lambda: write(100))
    with pytest.raises(OSError, match="no space"):
        store.commit("latents", lambda: (_ for _ in ()).throw(OSError("no space left on device")))
