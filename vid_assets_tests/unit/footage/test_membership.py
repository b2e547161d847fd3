"""Batch membership: formed when first seen, never regrouped, whatever happens to the files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vid_assets.footage.identity import unreadable_id
from vid_assets.footage.listing import FoundFile, Sidecar
from vid_assets.footage.membership import (
    Membership,
    ShrunkListingError,
    diff_membership,
    file_version,
    is_hashed,
    present_videos,
)
from vid_assets.footage.settings import Batching


@dataclass(frozen=True)
class Content:
    """What lies in a file: its size, and which of several contents of that size."""

    size: int
    which: int = 0

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"{self.size}/{self.which}".encode()).hexdigest()


class Disk:
    """A folder of files in memory, and the table `sources` that scans of it keep."""

    def __init__(self, batching: Batching | None = None) -> None:
        self.files: dict[str, tuple[Content, int]] = {}
        self.sidecars: dict[str, int] = {}
        self.table: dict[str, dict[str, Any]] = {}
        self.batching = batching or Batching()
        self.hashed: list[str] = []
        self._clock = 0

    def put(self, uri: str, content: Content) -> None:
        self._clock += 1
        self.files[uri] = (content, self._clock)

    def move(self, uri: str, to: str) -> None:
        self.files[to] = self.files.pop(uri)

    def listing(self) -> list[FoundFile]:
        def beside(uri: str) -> tuple[Sidecar, ...]:
            return (Sidecar(f"{uri}.txt", 3, f"t{self.sidecars[uri]}"),) if uri in self.sidecars else ()

        return [FoundFile(uri, c.size, f"mtime:{time}", beside(uri)) for uri, (c, time) in sorted(self.files.items())]

    def scan(self, confirm: bool = True) -> Membership:
        """List, keep what changed, and hash what is new, as `raw_videos` does afterwards."""

        def file_hash(uri: str) -> str:
            self.hashed.append(uri)
            return self.files[uri][0].hash

        diff = diff_membership(list(self.table.values()), self.listing(), self.batching, file_hash, confirm)
        for row in diff.rows:
            self.table[row["uri"]] = row
        for row in self.table.values():
            if row["state"] == "present" and not is_hashed(row):
                row |= {"video_id": self.files[row["uri"]][0].hash, "hashed_version": file_version(row)}
        return diff

    def batches(self) -> dict[str, str]:
        """Batch of each present file."""
        return {uri: row["ingest_batch"] for uri, row in self.table.items() if row["state"] == "present"}


def disk(**files: Content) -> Disk:
    made = Disk()
    for uri, content in files.items():
        made.put(uri, content)
    made.scan()
    return made


# --- examples


def test_the_first_scan_places_files_in_order():
    made = Disk(Batching(max_files=2))
    for uri in ("c", "a", "b"):
        made.put(uri, Content(1))
    diff = made.scan()
    assert made.batches() == {"a": "b00001", "b": "b00001", "c": "b00002"}
    assert (diff.added, diff.new_batches) == (["a", "b", "c"], ["b00001", "b00002"])
    assert made.hashed == [], "a new file is not read when it is listed"


def test_a_batch_is_closed_by_bytes_and_a_larger_file_is_alone():
    made = Disk(Batching(max_bytes=10))
    for uri, size in {"a": 6, "b": 4, "c": 1, "d": 50, "e": 1}.items():
        made.put(uri, Content(size))
    made.scan()
    assert made.batches() == {"a": "b00001", "b": "b00001", "c": "b00002", "d": "b00003", "e": "b00004"}


def test_the_same_listing_changes_nothing():
    made = disk(a=Content(1), b=Content(2))
    assert not made.scan().rows


def test_new_files_make_a_new_batch_and_leave_a_small_old_one_alone():
    made = disk(a=Content(1))
    made.put("0-before-a", Content(2))
    assert made.scan().new_batches == ["b00002"]
    assert made.batches() == {"a": "b00001", "0-before-a": "b00002"}


def test_other_limits_do_not_regroup():
    made = disk(a=Content(1), b=Content(2), c=Content(3))
    made.batching = Batching(max_files=1)
    assert not made.scan().rows
    assert set(made.batches().values()) == {"b00001"}


def test_a_renamed_file_keeps_its_batch_and_its_hash():
    made = disk(a=Content(1), b=Content(2))
    made.put("z", Content(9))
    made.scan()
    made.move("a", "zz/moved")
    diff = made.scan()
    assert diff.renamed == [("a", "zz/moved")]
    assert (diff.added, diff.removed, diff.new_batches) == ([], [], [])
    assert made.batches()["zz/moved"] == "b00001"
    assert made.table["zz/moved"]["video_id"] == Content(1).hash
    assert made.table["a"]["state"] == "removed"


def test_only_a_file_of_a_vanished_size_is_read():
    made = disk(a=Content(1), b=Content(2), c=Content(3))
    del made.files["a"]
    made.put("other size", Content(7))
    made.put("same size", Content(1, which=5))
    diff = made.scan()
    assert made.hashed == ["same size"]
    assert (diff.renamed, diff.added, diff.removed) == ([], ["other size", "same size"], ["a"])


def test_two_copies_of_a_vanished_file_are_one_rename_and_one_new_file():
    made = disk(a=Content(4), b=Content(2))
    del made.files["a"]
    made.put("copy 1", Content(4))
    made.put("copy 2", Content(4))
    diff = made.scan()
    assert diff.renamed == [("a", "copy 1")]
    assert diff.added == ["copy 2"]
    assert made.batches() == {"b": "b00001", "copy 1": "b00001", "copy 2": "b00002"}


def test_two_files_that_change_names_are_both_replaced_and_stay():
    made = disk(a=Content(4, 0), b=Content(4, 1))
    made.files["a"], made.files["b"] = made.files["b"], made.files["a"]
    diff = made.scan()
    assert sorted(diff.changed) == ["a", "b"]
    assert set(made.batches().values()) == {"b00001"}
    assert made.table["a"]["video_id"] == Content(4, 1).hash


def test_a_replaced_file_keeps_its_batch_and_loses_its_hash():
    made = disk(a=Content(1), b=Content(2))
    made.put("c", Content(3))
    made.scan()
    made.put("a", Content(8))
    diff = diff_membership(list(made.table.values()), made.listing(), made.batching, lambda uri: "")
    assert diff.changed == ["a"]
    (row,) = diff.rows
    assert (row["ingest_batch"], row["state"]) == ("b00001", "present")
    assert not is_hashed(row)


def test_a_removed_file_stays_as_a_tombstone_and_comes_back_to_its_batch():
    made = disk(a=Content(1), b=Content(2), c=Content(3))
    kept = made.files.pop("a")
    assert made.scan().removed == ["a"]
    assert made.table["a"]["state"] == "removed"
    assert made.table["a"]["video_id"] == Content(1).hash, "it stays readable for lineage"
    assert not made.scan().rows, "a removed file is removed once"
    made.put("new", Content(5))
    made.scan()
    made.files["a"] = kept
    diff = made.scan()
    assert (diff.changed, diff.added) == (["a"], [])
    assert made.batches()["a"] == "b00001"


def test_a_file_that_comes_back_under_another_name_keeps_its_batch():
    made = disk(a=Content(1), b=Content(2), c=Content(3))
    kept = made.files.pop("a")
    made.scan()
    made.files["later"] = kept
    assert made.scan().renamed == [("a", "later")]
    assert made.batches()["later"] == "b00001"


def test_another_caption_is_no_other_file():
    made = disk(a=Content(1), b=Content(2))
    made.sidecars["a"] = 1
    diff = made.scan()
    assert (diff.recaptioned, diff.changed, diff.added) == (["a"], [], [])
    assert is_hashed(made.table["a"])
    made.sidecars["a"] = 2
    assert made.scan().recaptioned == ["a"]


def test_zero_byte_files_stay_two():
    made = Disk()
    for uri in ("a", "b"):
        made.put(uri, Content(0))
    diff = made.scan()
    for uri in ("a", "b"):
        made.table[uri]["video_id"] = unreadable_id(Content(0).hash, uri)
    assert diff.added == ["a", "b"]
    assert made.table["a"]["video_id"] != made.table["b"]["video_id"]
    made.put("c", Content(3))
    made.scan()
    made.move("a", "renamed")
    diff = diff_membership(
        list(made.table.values()), made.listing(), made.batching, lambda uri: made.files[uri][0].hash
    )
    assert diff.renamed == [("a", "renamed")]
    row = next(row for row in diff.rows if row["uri"] == "renamed")
    assert row["ingest_batch"] == "b00001"
    assert row["video_id"] is None, "its id has its place in it, and is made anew"


def test_present_videos_names_the_owner_first_and_no_tombstone():
    made = disk(b=Content(1), c=Content(2))
    made.put("a", Content(1))
    made.scan()
    found = present_videos(made.table.values())
    assert [row["uri"] for row in found[Content(1).hash]] == ["b", "a"]
    del made.files["c"]
    made.scan()
    assert set(present_videos(made.table.values())) == {Content(1).hash}


@pytest.mark.parametrize(("gone", "refused"), [(2, False), (3, True), (4, True)])
def test_a_listing_that_lost_more_than_half_is_refused(gone, refused):
    made = disk(**{name: Content(index + 1) for index, name in enumerate("abcd")})
    for name in "abcd"[:gone]:
        del made.files[name]
    if refused:
        with pytest.raises(
            ShrunkListingError, match=rf"{gone} of 4 known files are gone.*--confirm.*Nothing was changed"
        ):
            made.scan(confirm=False)
        assert set(made.batches()) == set("abcd")
    else:
        made.scan(confirm=False)
    assert len(made.scan(confirm=True).removed) == (gone if refused else 0)


def test_a_folder_renamed_is_no_shrunk_listing():
    made = disk(**{name: Content(index + 1) for index, name in enumerate("abcd")})
    for name in "abcd":
        made.move(name, f"folder/{name}")
    diff = made.scan(confirm=False)
    assert len(diff.renamed) == 4
    assert set(made.batches().values()) == {"b00001"}


def test_the_only_file_may_go_without_a_question():
    made = disk(a=Content(1))
    del made.files["a"]
    assert made.scan(confirm=False).removed == ["a"]


# --- properties

NAMES = st.sampled_from([f"f{number}" for number in range(8)])
CONTENTS = st.builds(Content, st.integers(0, 3), st.integers(0, 2))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, CONTENTS),
        st.tuples(st.just("move"), NAMES, NAMES),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("scan")),
    ),
    max_size=25,
)
LIMITS = st.builds(Batching, max_files=st.integers(1, 3), max_bytes=st.integers(1, 6))


def play(made: Disk, steps: list[tuple]) -> None:
    for what, *arguments in steps:
        if what == "put":
            made.put(*arguments)
        elif what == "move" and arguments[0] in made.files and arguments[0] != arguments[1]:
            made.move(*arguments)
        elif what == "remove":
            made.files.pop(arguments[0], None)
        elif what == "scan":
            made.scan()


@settings(max_examples=150, deadline=None)
@given(STEPS, LIMITS, LIMITS)
def test_no_uri_ever_changes_its_batch(steps, limits, later_limits):
    made = Disk(limits)
    seen: dict[str, str] = {}
    for step in [*steps, ("scan",)]:
        play(made, [step])
        for uri, row in made.table.items():
            assert seen.setdefault(uri, row["ingest_batch"]) == row["ingest_batch"]
        made.batching = later_limits


@settings(max_examples=150, deadline=None)
@given(STEPS, LIMITS)
def test_new_batches_keep_the_limits(steps, limits):
    made = Disk(limits)
    play(made, steps)
    diff = made.scan()
    for batch in diff.new_batches:
        members = [row for row in diff.rows if row["ingest_batch"] == batch and row["uri"] in diff.added]
        assert 1 <= len(members) <= limits.max_files
        assert len(members) == 1 or sum(row["size_bytes"] for row in members) <= limits.max_bytes


@settings(max_examples=150, deadline=None)
@given(STEPS, LIMITS)
def test_after_a_scan_the_table_is_the_listing(steps, limits):
    made = Disk(limits)
    play(made, steps)
    before = {uri for uri, row in made.table.items() if row["state"] == "present"}
    diff = made.scan()
    assert set(made.batches()) == set(made.files)
    assert not made.scan().rows, "a second scan has nothing to say"
    assert set(diff.added) | {new for _, new in diff.renamed} | set(diff.changed) >= set(made.files) - before
    # what was gone before may come back under another name; of what was there, all that is gone is told
    assert set(diff.removed) | {old for old, _ in diff.renamed} & before == before - set(made.files)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, CONTENTS, min_size=1), st.permutations([f"f{number}" for number in range(8)]), LIMITS)
def test_renaming_every_file_at_once_keeps_every_content_in_its_batch(files, order, limits):
    made = Disk(limits)
    for uri, content in files.items():
        made.put(uri, content)
    made.scan()
    before = sorted((made.files[uri][0].hash, batch) for uri, batch in made.batches().items())
    for uri in list(files):
        made.move(uri, f"new/{order[int(uri[1:])]}")
    diff = made.scan(confirm=False)
    assert (diff.added, diff.removed) == ([], [])
    assert sorted((made.files[uri][0].hash, batch) for uri, batch in made.batches().items()) == before
