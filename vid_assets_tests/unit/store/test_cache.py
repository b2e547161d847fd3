"""Row caching and partition caching: only misses are computed, nothing is lost, nobody else's rows are touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vid_assets.store.cache import RETRY, Output, run_cached, sync_slice
from vid_assets.store.state import Fingerprint, StateFolder
from vid_assets.store.tables import Store, equals

HERE = equals("ingest_batch", "b1")


class Rows:
    """Computes rows of `clips`, and remembers which were asked for."""

    def __init__(self, batch: str = "b1", end_s: float = 1.0) -> None:
        self.batch, self.end_s = batch, end_s
        self.asked: list[str] = []

    def __call__(self, misses: list[str]) -> Iterable[dict[str, Any]]:
        for name in misses:
            self.asked.append(name)
            yield {"clip_id": name, "ingest_batch": self.batch, "end_s": self.end_s}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def sync(store: Store, wanted: Mapping[str, str], rows: Any = None, batch: str = "b1", **options: Any) -> Output:
    return sync_slice(store, "clips", equals("ingest_batch", batch), wanted, rows or Rows(batch), **options)


def held(store: Store, where: str = "true") -> dict[str, str]:
    return {row["clip_id"]: row["cache_key"] for row in store.read("clips", where)}


def counts(output: Output) -> tuple[int, int, int]:
    return output.rows, output.computed, output.cached


def test_only_misses_are_computed(store):
    rows = Rows()
    assert counts(sync(store, {"a": "1", "b": "1"}, rows)) == (2, 2, 0)
    assert counts(sync(store, {"a": "1", "b": "2", "c": "1"}, rows)) == (3, 2, 1)
    assert counts(sync(store, {"a": "1", "b": "2", "c": "1"}, rows)) == (3, 0, 3)
    assert rows.asked == ["a", "b", "b", "c"]
    assert held(store) == {"a": "1", "b": "2", "c": "1"}


def test_what_is_finished_is_kept_where_the_next_row_fails(store):
    def breaks(misses: list[str]) -> Iterable[dict[str, Any]]:
        yield from Rows()(misses[:2])
        raise OSError("the third file")

    with pytest.raises(OSError, match="the third file"):
        sync(store, {"a": "1", "b": "1", "c": "1"}, breaks)
    assert held(store) == {"a": "1", "b": "1"}


def test_nothing_to_compute_does_not_even_ask(store):
    def never(misses: list[str]) -> Iterable[dict[str, Any]]:
        raise AssertionError("asked for nothing")

    assert counts(sync(store, {}, never)) == (0, 0, 0)


def test_what_is_no_longer_wanted_goes_unless_it_is_retained(store):
    sync(store, {"a": "1", "b": "1", "c": "1"})
    output = sync(store, {"a": "1"}, retain=lambda name: name == "b")
    assert held(store) == {"a": "1", "b": "1"}
    assert output.facts["removed"] == 1


def test_slices_of_others_stay(store):
    sync(store, {"a": "1"})
    sync(store, {"x": "1", "y": "1"}, batch="b2")
    sync(store, {"b": "1"})
    sync(store, {}, batch="b3")
    assert held(store, equals("ingest_batch", "b2")) == {"x": "1", "y": "1"}
    assert held(store, HERE) == {"b": "1"}


def test_force_computes_everything_and_the_version_stays_where_the_content_is_equal(store):
    before = sync(store, {"a": "1", "b": "1"})
    again = sync(store, {"a": "1", "b": "1"}, force=True)
    assert counts(again) == (2, 2, 0)
    assert (again.data_version, again.output_digest) == (before.data_version, before.output_digest)


def test_equal_content_made_from_something_else_has_the_same_version_and_another_digest(store):
    before = sync(store, {"a": "1"})
    again = sync(store, {"a": "2"})
    assert again.computed == 1
    assert again.data_version == before.data_version
    assert again.output_digest != before.output_digest


def test_other_content_has_another_version(store):
    before = sync(store, {"a": "1"})
    assert sync(store, {"a": "2"}, Rows(end_s=2.0)).data_version != before.data_version


def test_a_row_that_is_lost_is_an_error(store):
    with pytest.raises(ValueError, match=r"clips: 2 rows were asked for and not computed, b among them"):
        sync(store, {"a": "1", "b": "1", "c": "1"}, lambda misses: Rows()(misses[:1]))


def test_a_row_that_nobody_asked_for_is_an_error(store):
    with pytest.raises(ValueError, match="row stranger was not asked for"):
        sync(store, {"a": "1"}, lambda misses: Rows()(["stranger"]))
    assert held(store) == {}


@pytest.mark.parametrize("flush_rows", [1, 2, 3])
def test_a_run_that_dies_keeps_its_flushes_and_the_next_goes_on(store, flush_rows):
    wanted = dict.fromkeys("abcdefg", "1")

    def dies(misses: list[str]) -> Iterable[dict[str, Any]]:
        yield from Rows()(misses[:4])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(store, wanted, dies, flush_rows=flush_rows)
    kept = held(store)
    assert len(kept) == 4 - 4 % flush_rows
    rows = Rows()
    assert counts(sync(store, wanted, rows, flush_rows=flush_rows)) == (7, 7 - len(kept), len(kept))
    assert set(rows.asked) == set(wanted) - set(kept)


WANTED = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("12"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["p", "q"]), WANTED), min_size=1, max_size=4), st.integers(1, 3))
def test_slices_are_what_was_wanted_last_and_only_changes_are_computed(tmp_path_factory, steps, flush_rows):
    store = Store(str(tmp_path_factory.mktemp("slices")))
    last: dict[str, dict[str, str]] = {}
    for batch, wanted in steps:
        keyed = {f"{batch}/{name}": key for name, key in wanted.items()}
        before, rows = last.get(batch, {}), Rows(batch)
        sync(store, keyed, rows, batch, flush_rows=flush_rows)
        assert set(rows.asked) == {name for name, key in keyed.items() if before.get(name) != key}
        last[batch] = keyed
        assert held(store) == {name: key for held_here in last.values() for name, key in held_here.items()}


# --- a whole partition


class Asset:
    """An asset partition whose output is a text in memory."""

    def __init__(self, home: Path) -> None:
        self.states = StateFolder(str(home))
        self.code, self.computed, self.stored = "1", 0, None
        self.dies = self.retry = False

    def run(self, force: bool = False):
        def compute() -> Output:
            self.computed += 1
            self.stored = None
            if self.dies:
                raise KeyboardInterrupt
            self.stored = "content"
            return Output("version", "content", rows=5, computed=5, retry=self.retry, facts={"seen": "here"})

        return run_cached(
            self.states, "thing", "b1", lambda: Fingerprint(self.code), compute, lambda state: self.stored, force
        )


@pytest.fixture
def asset(tmp_path: Path) -> Asset:
    return Asset(tmp_path)


def test_a_hit_shows_what_the_run_showed_and_computes_nothing(asset):
    first, second = asset.run(), asset.run()
    assert (first.hit, first.reasons) == (False, ("never finished",))
    assert second.hit
    assert asset.computed == 1
    assert second.output.data_version == first.output.data_version == "version"
    assert (second.output.rows, second.output.computed, second.output.cached) == (5, 0, 5)
    assert second.output.facts["seen"] == "here"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda asset: setattr(asset, "code", "2"), "code 1 -> 2"),
        (lambda asset: setattr(asset, "stored", None), "its stored output was changed or deleted"),
        (lambda asset: setattr(asset, "stored", "other"), "its stored output was changed or deleted"),
        (lambda asset: asset.states.path("thing", "b1").write_text("{}"), "never finished"),
    ],
)
def test_each_change_computes_again_and_says_why(asset, change, reason):
    asset.run()
    change(asset)
    outcome = asset.run()
    assert (outcome.hit, outcome.reasons) == (False, (reason,))
    assert asset.run().hit


def test_force_says_so(asset):
    asset.run()
    assert asset.run(force=True).reasons == ("forced",)
    assert asset.computed == 2


def test_rows_that_failed_are_tried_again_until_they_succeed(asset):
    asset.retry = True
    asset.run()
    assert asset.run().reasons == (RETRY,)
    asset.retry = False
    assert asset.run().reasons == (RETRY,)
    assert asset.run().hit


def test_a_run_that_dies_is_not_finished_even_where_an_older_one_was(asset):
    asset.run()
    asset.code, asset.dies = "2", True
    with pytest.raises(KeyboardInterrupt):
        asset.run()
    assert asset.states.read("thing", "b1") is None
    asset.code, asset.dies = "1", False
    assert asset.run().reasons == ("never finished",)


def test_an_input_that_is_missing_leaves_the_state_alone(asset):
    asset.run()

    def missing() -> Fingerprint:
        raise RuntimeError("an input is not finished")

    with pytest.raises(RuntimeError, match="not finished"):
        run_cached(asset.states, "thing", "b1", missing, lambda: None, lambda state: None)
    assert asset.run().hit
