"""States beside the data: sealed, atomic, and in words what differs."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from vid_assets.digests import canonical, digest
from vid_assets.store.state import AssetState, BusyError, Fingerprint, StateFolder

PRINT = Fingerprint("3", {"policy": {"luma_min": 20.0}}, {"clips": "abc"})


def state(**changes) -> AssetState:
    parts = {
        "asset": "clips",
        "partition": "b00001",
        "fingerprint": PRINT,
        "data_version": "v1",
        "output_digest": "d1",
        "facts": {"rows": 3, "reasons": ["a", "b"]},
    }
    return AssetState(**parts | changes)


@pytest.fixture
def states(tmp_path: Path) -> StateFolder:
    return StateFolder(str(tmp_path))


def test_what_is_written_is_read(states):
    states.write(state(retry=True))
    found = states.read("clips", "b00001")
    assert found is not None
    assert found.finished_at
    assert canonical(asdict(found)) == canonical(asdict(state(retry=True, finished_at=found.finished_at)))


def test_there_is_no_state_before_it_is_written_and_after_it_is_removed(states):
    assert states.read("clips", "b00001") is None
    states.remove("clips", "b00001")
    states.write(state())
    assert states.read("clips", "b00002") is None
    states.remove("clips", "b00001")
    assert states.read("clips", "b00001") is None


def test_unpartitioned_assets_and_assets_of_a_stage_have_places_of_their_own(states):
    states.write(state(asset="vae", partition=None))
    states.write(state(asset="checkpoint/short", partition="one"))
    states.write(state(asset="checkpoint/long", partition="one", data_version="v2"))
    assert states.read("vae", None).data_version == "v1"
    assert states.read("checkpoint/long", "one").data_version == "v2"
    assert states.partitions("checkpoint/short") == ["one"]
    assert states.partitions("never") == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"v1"', '"v2"'),
        lambda text: text.replace("20.0", "21.0"),
        lambda text: text.replace('"retry": false', '"retry": true'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: json.dumps({"state": json.loads(text)["state"]}),
        lambda text: json.dumps({"seal": digest({"asset": "clips"}), "state": {"asset": "clips"}}),
    ],
)
def test_a_damaged_state_is_logged_and_counts_as_absent(states, damage, caplog):
    states.write(state())
    path = states.path("clips", "b00001")
    text = path.read_text(encoding="utf-8")
    assert damage(text) != text
    path.write_text(damage(text), encoding="utf-8")
    assert states.read("clips", "b00001") is None
    assert str(path) in caplog.text
    assert "damaged" in caplog.text


def test_bytes_that_are_no_text_count_as_absent(states):
    states.write(state())
    states.path("clips", "b00001").write_bytes(b"\xff\xfe\x00\x80")
    assert states.read("clips", "b00001") is None


def test_a_writer_that_dies_leaves_the_old_state(states, monkeypatch):
    states.write(state())

    def dies(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        states.write(state(data_version="v2"))
    monkeypatch.undo()
    assert states.read("clips", "b00001").data_version == "v1"
    assert states.partitions("clips") == ["b00001"], "a half-written file is no state"


def _hold(home: str, ready, release) -> None:
    with StateFolder(home).lock("clips", "b00001"):
        ready.set()
        release.wait(60)


def _take(home: str, taken) -> None:
    with StateFolder(home).lock("clips", "b00001"):
        taken.set()


def test_two_runs_of_one_partition_wait_for_each_other_and_a_dead_one_holds_nothing(states, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready, release, taken = spawn.Event(), spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_hold, args=(str(tmp_path), ready, release))
    holder.start()
    assert ready.wait(60)
    waiter = spawn.Process(target=_take, args=(str(tmp_path), taken))
    waiter.start()
    with states.lock("clips", "b00002"):
        assert not taken.wait(1.5), "another partition is not held up, this one is"
    holder.kill()
    assert taken.wait(60)
    for process in (holder, waiter):
        process.join(60)


def test_equal_values_have_one_text():
    assert canonical({"b": 1, "a": [1.0, None]}) == canonical({"a": [1.0, None], "b": 1}) == '{"a":[1.0,null],"b":1}'
    assert digest([1, 2]) != digest([12])


@pytest.mark.parametrize(
    ("now", "reasons"),
    [
        (PRINT, []),
        (Fingerprint("4", PRINT.config, PRINT.inputs), ["code 3 -> 4"]),
        (
            Fingerprint("3", {"policy": {"luma_min": 25.0}}, PRINT.inputs),
            ["config policy.luma_min: 20.0 -> 25.0"],
        ),
        (
            Fingerprint("3", {"policy": {"luma_min": 20.0, "new": 1}}, PRINT.inputs),
            ["config policy.new: null -> 1"],
        ),
        (Fingerprint("3", PRINT.config, {"clips": "other"}), ["input clips changed"]),
        (Fingerprint("3", PRINT.config, {"clips": "abc", "vae": "x"}), ["input vae changed"]),
        (
            Fingerprint("4", {}, {}),
            ["code 3 -> 4", 'config policy: {"luma_min": 20.0} -> null', "input clips changed"],
        ),
    ],
)
def test_differences_are_told_in_words(now, reasons):
    assert now.differences(PRINT) == reasons
    assert (now.digest == PRINT.digest) == (not reasons)


def test_who_has_the_home_alone_is_refused_while_anything_is_at_work(states):
    with states.lock("clips", "b00001"), states.lock("training_set/short", None), states.lock("clips", "b00002"):
        at_work = r"clips \[b00001\], clips \[b00002\], training_set/short is at work in "
        with pytest.raises(BusyError, match=at_work), states.alone():
            pass
    with states.alone(), pytest.raises(BusyError, match="another process is at work in"), states.alone():
        pass
    with states.lock("clips", "b00001"):
        pass


def test_the_states_that_there_are(states):
    states.write(state(asset="training_set/short", partition=None))
    states.write(state(asset="clips", partition="b2"))
    (states.folder / "hashes").mkdir()
    (states.folder / "hashes" / "0123.json").write_text("{}")
    assert states.finished() == [("clips", "b2"), ("training_set/short", None)]
    assert states.partitions("clips") == ["b2"]
