"""What the footage sensor requests: each change once, after it has settled, and nothing that is done already."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vid_assets.definitions import build_definitions
from vid_assets.footage.listing import FoundFile, ListingError
from vid_assets.orchestration.partitions import register_batches
from vid_assets.orchestration.sensor import Cursor, Tick, batch_run, changed_batches, footage_sensor, look, settled
from vid_assets_tests.harness import Home

SETTLE_S = 10.0


def found(uri: str, size: int = 1, etag: str = "a") -> FoundFile:
    return FoundFile(uri, size, etag)


# --- the pure difference


def test_a_new_file_waits_until_it_was_unchanged_for_the_time_to_settle():
    taken, waiting = settled([found("x")], {}, {}, SETTLE_S, now=100)
    assert (taken, waiting) == ([], {"x": ["1:a", 100]})
    taken, waiting = settled([found("x")], {}, waiting, SETTLE_S, now=109)
    assert (taken, waiting) == ([], {"x": ["1:a", 100]})
    taken, waiting = settled([found("x")], {}, waiting, SETTLE_S, now=110)
    assert (taken, waiting) == ([found("x")], {})


def test_a_file_that_grows_starts_to_wait_anew():
    _, waiting = settled([found("x", 1)], {}, {}, SETTLE_S, now=100)
    taken, waiting = settled([found("x", 2)], {}, waiting, SETTLE_S, now=111)
    assert (taken, waiting) == ([], {"x": ["2:a", 111]})


def test_a_known_file_is_taken_at_once_and_a_changed_one_waits():
    files = [found("x"), found("y", etag="b")]
    taken, waiting = settled(files, {"x": "1:a", "y": "1:a"}, {}, SETTLE_S, now=100)
    assert taken == [found("x")]
    assert waiting == {"y": ["1:b", 100]}


def test_a_file_that_is_gone_is_no_longer_waited_for():
    assert settled([], {}, {"x": ["1:a", 100]}, SETTLE_S, now=200) == ([], {})


def test_without_a_time_to_settle_everything_is_taken_at_once():
    assert settled([found("x")], {}, {}, 0.0, now=100) == ([found("x")], {})


def test_batches_are_requested_where_their_files_are_neither_requested_nor_finished():
    digests = {"b1": "new", "b2": "old", "b3": "done", "b4": "first"}
    assert changed_batches(digests, {"b1": "old", "b2": "old", "b3": "old"}, {"b3": "done"}) == ["b1", "b4"]


def test_the_cursor_survives_its_text():
    cursor = Cursor({"x": ["1:a", 100.5]}, {"b1": "digest"}, {"b1": "lost"})
    assert Cursor.parse(cursor.text()) == cursor
    assert Cursor.parse(None) == Cursor()


# --- a look at a small home, without running anything


class Watched:
    """A home and the cursor of its sensor; time passes as the test says."""

    def __init__(self, home: Home) -> None:
        self.home, self.cursor, self.now = home, Cursor(), 1000.0

    def run(self) -> dict[str, int]:
        """Run everything by hand, long after the files were written."""
        for path in self.home.footage.iterdir():
            if time.time() - path.stat().st_mtime < SETTLE_S:
                os.utime(path, (time.time() - 3600,) * 2)
        return self.home.run()

    def look(self, later: float = 0.0) -> Tick:
        self.now += later
        tick = look(self.home.project, self.cursor, self.now)
        self.cursor = Cursor.parse(tick.cursor.text())
        return tick

    def settle(self) -> Tick:
        """Look, let everything settle, look again; the first look must have requested nothing."""
        first = self.look()
        assert not first.new
        return self.look(SETTLE_S)


@pytest.fixture
def watched(home) -> Watched:
    return Watched(home(ingest={"settle_s": SETTLE_S}))


def test_a_new_file_waits_then_its_batch_is_requested_once(watched, put):
    put(watched.home, "still.png")
    tick = watched.look()
    assert (tick.new, tick.batches) == ({}, [])
    assert tick.why_nothing == "1 files are still settling"
    assert watched.look(SETTLE_S - 1).batches == []
    tick = watched.look(1)
    assert (list(tick.new), tick.batches) == (["b00001"], ["b00001"])
    for _ in range(3):
        tick = watched.look(SETTLE_S)
        assert not tick.new and not tick.moved
    assert tick.why_nothing == "no new footage"


def test_a_file_that_is_still_copied_is_not_taken(watched, put):
    target = put(watched.home, "still.png")
    whole = target.read_bytes()
    for share in (0.2, 0.5, 0.8):
        target.write_bytes(whole[: int(len(whole) * share)])
        assert not watched.look(SETTLE_S).new
    target.write_bytes(whole)
    assert list(watched.settle().new) == ["b00001"]


def test_a_later_file_makes_a_batch_of_its_own(watched, put):
    put(watched.home, "still.png")
    watched.settle()
    put(watched.home, "still_two.png")
    tick = watched.settle()
    assert (list(tick.new), tick.batches) == (["b00002"], ["b00001", "b00002"])


def test_a_changed_file_requests_its_batch_again_after_it_has_settled(watched, put):
    put(watched.home, "still.png")
    first = watched.settle().new["b00001"]
    put(watched.home, "still_two.png", to="still.png")
    second = watched.settle().new["b00001"]
    assert second != first


def test_a_file_that_changes_is_not_taken_for_removed_while_it_settles(watched, put):
    put(watched.home, "still.png")
    watched.settle()
    put(watched.home, "still_two.png", to="still.png")
    watched.look()
    assert [row["state"] for row in watched.home.rows("sources")] == ["present"]


def test_a_new_caption_requests_its_batch(watched, put):
    target = put(watched.home, "still.png")
    watched.settle()
    target.with_suffix(".txt").write_text("a still", encoding="utf-8")
    assert list(watched.look().new) == ["b00001"]
    assert not watched.look().new


def test_a_removed_file_requests_its_batch(watched, put):
    put(watched.home, "still.png")
    put(watched.home, "still_two.png")
    watched.settle()
    (watched.home.footage / "still_two.png").unlink()
    assert list(watched.look().new) == ["b00001"]
    assert not watched.look().new


def test_a_listing_that_fails_changes_nothing(watched, put):
    put(watched.home, "still.png")
    watched.settle()
    shutil.move(watched.home.footage, watched.home.folder / "unmounted")
    before = watched.home.rows("sources")
    with pytest.raises(ListingError, match="no such folder"):
        watched.look()
    assert watched.home.rows("sources") == before
    shutil.move(watched.home.folder / "unmounted", watched.home.footage)
    assert not watched.look().new


# --- a look after runs


def test_dropped_again_unchanged_requests_nothing(watched, put):
    put(watched.home, "still.png", caption="a still")
    watched.settle()
    watched.home.run()
    for _ in range(2):
        put(watched.home, "still.png")
        for _ in range(3):
            tick = watched.look(SETTLE_S)
            assert not tick.new and not tick.moved
    assert watched.home.run() == {}, "nor does a run by hand find anything to do"
    put(watched.home, "still_two.png", to="still.png")
    assert list(watched.settle().new) == ["b00001"]
    watched.home.run()
    assert sorted(row["state"] for row in watched.home.rows("sources")) == ["present", "replaced"]


def test_footage_that_was_run_by_hand_before_the_first_tick_is_not_requested(watched, put):
    put(watched.home, "still.png", caption="a still")
    watched.run()
    for _ in range(2):
        tick = watched.look(SETTLE_S)
        assert not tick.new and not tick.moved
    put(watched.home, "still_two.png")
    assert list(watched.settle().new) == ["b00002"]


def test_a_change_before_the_first_tick_is_requested(watched, put):
    put(watched.home, "still.png")
    watched.run()
    put(watched.home, "still_two.png", to="still.png")
    assert list(watched.settle().new) == ["b00001"]


def test_a_better_copy_in_a_later_batch_requests_the_latents_of_the_earlier_one(watched, put):
    home = watched.home
    put(home, "one_worse.mp4")
    watched.run()
    assert not watched.look().new
    put(home, "one.mp4")
    assert list(watched.settle().new) == ["b00002"]
    assert [row["accepted"] for row in home.rows("verdicts")] == [True]
    register_batches(home.instance, ["b00002"])
    home.materialize([name for name in batch_run(home.project.config) if name != "source_files"], "b00002")
    assert [row["ingest_batch"] for row in home.rows("duplicates")] == ["b00001"]
    tick = watched.look()
    assert (list(tick.new), list(tick.moved)) == ([], ["b00001"])
    assert not watched.look().moved, "requested once, not at every tick until it has run"
    home.materialize(["latents"], "b00001")
    tick = watched.look()
    assert not tick.new and not tick.moved


# --- the shell around it


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as one:
        yield one


def evaluate(home: Home, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    project = home.project
    context = dg.build_sensor_context(
        instance,
        cursor=cursor,
        resources={"project": project},
        definitions=build_definitions(project),
    )
    return footage_sensor(project)(context)


def test_the_sensor_registers_the_batch_and_requests_it_as_one_run(home, put, instance):
    one = home(ingest={"settle_s": 0})
    put(one, "still.png")
    result = evaluate(one, instance)
    assert instance.get_dynamic_partitions("ingest_batch") == ["b00001"]
    (request,) = result.run_requests
    assert request.partition_key == "b00001"
    assert {key.to_user_string() for key in request.asset_selection} == set(batch_run(one.project.config))
    again = evaluate(one, instance, result.cursor)
    assert not again.run_requests
    assert again.skip_reason.skip_message == "no new footage"


def test_run_keys_tell_changes_apart(home, put, instance):
    one = home(ingest={"settle_s": 0})
    put(one, "still.png")
    first = evaluate(one, instance)
    put(one, "still_two.png", to="still.png")
    second = evaluate(one, instance, first.cursor)
    keys = [result.run_requests[0].run_key for result in (first, second)]
    assert keys[0] != keys[1]


def test_a_sensor_whose_cursor_was_reset_requests_what_is_not_done_under_a_new_key(home, put, instance):
    one = home(ingest={"settle_s": 0})
    put(one, "still.png")
    first = evaluate(one, instance).run_requests[0].run_key
    time.sleep(1)
    assert evaluate(one, instance).run_requests[0].run_key != first, "Dagster drops a request whose key it has seen"


def test_a_listing_that_fails_is_a_skipped_tick_with_the_reason(home, put, instance):
    one = home(ingest={"settle_s": 0})
    put(one, "still.png")
    before = evaluate(one, instance).cursor
    shutil.rmtree(one.footage)
    skipped = evaluate(one, instance, before)
    assert isinstance(skipped, dg.SkipReason)
    assert "no such folder" in skipped.skip_message and str(one.footage) in skipped.skip_message


def test_a_folder_that_lost_most_of_its_files_is_a_skipped_tick(home, put, instance):
    one = home(ingest={"settle_s": 0})
    for name in ("a.png", "b.png", "c.png"):
        put(one, "still.png", to=name)
    before = evaluate(one, instance).cursor
    for name in ("a.png", "b.png"):
        Path(one.footage, name).unlink()
    skipped = evaluate(one, instance, before)
    assert isinstance(skipped, dg.SkipReason)
    assert "--confirm" in skipped.skip_message
