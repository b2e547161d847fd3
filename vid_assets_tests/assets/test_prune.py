"""`vid-assets prune`: it finds what nothing needs and nothing else, frees its bytes, and survives being killed."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import lance
import pytest

from vid_assets import cli
from vid_assets.home import prune
from vid_assets.store import pins
from vid_assets_tests.harness import Home
from vid_assets_tests.stored import Stored, payload


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Two videos, one training set of each stage, a run of each, the second started from the first."""
    made = Stored(Home(tmp_path / "home", tmp_path / "no models", text_encoder=None))
    ids = made.video("one") + made.video("two")
    made.training_set("digest-short", ids)
    made.training_set("digest-long", ids[:2], stage="long")
    made.run("weights-a", "digest-short")
    made.run("weights-b", "digest-long", parent="weights-a", stage="long")
    made.evaluation("eval-short", ids[:1])
    return made


def found(stored: Stored, files: bool = False) -> list[tuple[str, str]]:
    items = [(one.kind, one.name) for one in prune.find(stored.project)]
    return [item for item in items if files or item[0] != "files"]


def delete(stored: Stored) -> int:
    return prune.delete(stored.project, prune.find(stored.project), progress=lambda text: None)


def test_a_home_in_which_all_is_needed(stored):
    assert found(stored) == []
    delete(stored)
    assert stored.keys("latents", "sample_id") == ["one-0", "one-1", "two-0", "two-1"]
    assert all(pins.verify_digest(stored.project.store, name) for name in ("digest-short", "digest-long"))


def test_latents_of_other_weights_go_and_their_bytes_with_them(stored):
    stored.latents("one", ["old-0", "old-1"], weights="earlier-weights")
    stored.training_set("digest-short", ["one-0", "one-1", "two-0", "two-1"])  # its pin holds the old ones too
    (item,) = [one for one in prune.find(stored.project) if one.kind != "files"]
    assert (item.kind, item.name) == ("latents", "2 of hunyuan_video earlier-")
    assert item.bytes == 2 * len(payload("latent old-0"))
    assert stored.holds("latent old-0")
    assert delete(stored) >= item.bytes
    assert stored.holds("latent old-0") == []
    row = pins.pinned_row(stored.project.store, "digest-short")
    assert pins.verify_digest(stored.project.store, "digest-short") == "digest-short"
    uri = stored.project.store.table_uri("latents")
    assert lance.dataset(uri, version=row["latents_version"]).count_rows() == 4
    assert found(stored, files=True) == []


def test_a_pin_that_an_unfinished_run_reads_stays_where_it_is(stored):
    stored.latents("one", ["old-0"], weights="earlier-weights")
    version = stored.training_set("digest-short", ["one-0", "one-1", "two-0", "two-1"])
    stored.project.states.remove("checkpoint/short", "one")
    stored.run("weights-c", "digest-short", finished=False)
    delete(stored)
    assert pins.pinned_row(stored.project.store, "digest-short")["latents_version"] == version
    assert stored.keys("latents", "sample_id") == ["one-0", "one-1", "two-0", "two-1"]
    pinned = lance.dataset(stored.project.store.table_uri("latents"), version=version)
    assert pinned.count_rows() == 5 and stored.holds("latent old-0")


def test_what_no_state_names_goes_with_what_only_it_needed(stored):
    stored.latents("one", ["old-0"], weights="earlier-weights")
    stored.training_set("digest-old", ["old-0"], current=False)
    stored.run("weights-old", "digest-old", current=False)
    stored.evaluation("eval-old", [], current=False)
    assert found(stored) == [
        ("checkpoint", "checkpoints/one/short/weights-old"),
        ("evaluation", "evaluations/one/short/eval-old"),
        ("training set", "short digest-old"),
        ("latents", "1 of hunyuan_video earlier-"),
    ]
    delete(stored)
    assert found(stored, files=True) == []
    assert stored.keys("runs", "run_key") == stored.keys("metrics", "run_key") == ["weights-a", "weights-b"]
    assert stored.keys("training_sets", "digest") == ["digest-long", "digest-short"]
    assert pins.all_tags(stored.project.store) == {"training-set-digest-short", "training-set-digest-long"}
    assert not stored.path("checkpoints/one/short/weights-old").exists()


def test_the_parent_of_a_kept_checkpoint_stays_with_its_training_set(stored):
    stored.training_set("digest-new", ["one-0"])
    stored.run("weights-new", "digest-new")
    assert found(stored) == []  # weights-a is named by no state now, but weights-b started from it
    stored.run("weights-c", "digest-long", stage="long")
    assert found(stored) == [
        ("checkpoint", "checkpoints/one/long/weights-b"),
        ("checkpoint", "checkpoints/one/short/weights-a"),
        ("training set", "short digest-short"),
    ]


def test_experiments_and_stages_that_the_configuration_lost(stored):
    stored.home.change(experiments={"two": {"model": "tiny-dit"}})
    del stored.home.config["experiments"]["one"]
    reasons = {one.name: one.reason for one in prune.find(stored.project) if one.kind != "files"}
    assert set(reasons.values()) == {"the configuration has no experiment one"}
    assert set(reasons) == {
        "checkpoint/long [one]", "checkpoint/short [one]", "evaluation/short [one]",
        "checkpoints/one/long/weights-b", "checkpoints/one/short/weights-a", "evaluations/one/short/eval-short",
    }  # fmt: skip
    delete(stored)
    assert found(stored, files=True) == []
    assert stored.project.states.partitions("checkpoint/short") == []


def test_folders_kept_aside_and_left_by_killed_processes(stored):
    aside = stored.run("weights-x-before-20260101T000000", "digest-short", current=False)
    damaged = stored.path("checkpoints/one/short/weights-a/damaged-20260101T000000")
    torn = stored.path("checkpoints/one/short/weights-a/.tmp-final-1234")
    for folder in (damaged, torn):
        folder.mkdir()
        (folder / "weights").write_bytes(b"0" * 1000)
    before = stored.project.store.read("training_sets")
    items = {one.name: one.bytes for one in prune.find(stored.project) if one.kind != "files"}
    assert items.keys() == {stored.relative(folder) for folder in (aside, damaged, torn)}
    assert items[stored.relative(damaged)] == 1000
    delete(stored)
    assert not any(folder.exists() for folder in (aside, damaged, torn))
    assert stored.project.store.read("training_sets") == before, "no pin is moved for nothing"
    assert stored.path("checkpoints/one/short/weights-a/final").exists()


@pytest.mark.parametrize("asset", ["latents", "checkpoint/short", "training_set/short", "evaluation/short"])
def test_what_may_be_half_made_is_kept(stored, asset):
    """A run that was killed removed the state first; what it had finished is taken up again."""
    stored.latents("one", ["flushed-0"])
    stored.training_set("digest-forming", ["one-0"], current=False)
    stored.run("weights-unnamed", "digest-short", current=False)
    stored.evaluation("eval-unnamed", [], current=False)
    mine = {
        "latents": ("latents", "1 of hunyuan_video weights"),
        "training_set/short": ("training set", "short digest-formi"),
        "checkpoint/short": ("checkpoint", "checkpoints/one/short/weights-unnamed"),
        "evaluation/short": ("evaluation", "evaluations/one/short/eval-unnamed"),
    }
    before = found(stored)
    assert set(mine.values()) == set(before)
    stored.project.states.remove(asset, {"latents": "b00001", "training_set/short": None}.get(asset, "one"))
    assert set(before) - set(found(stored)) == {mine[asset]}


def test_embeddings_of_no_caption_go(stored):
    stored.embedding("of a caption that changed", "caption-gone")
    stored.embedding("of a member", "caption-gone-too")
    stored.embedding("of a first frame", None, kind="image")
    stored.training_set("digest-new", ["one-0"], embedding_key="of a member")
    stored.project.store.upsert("first_frames", [{"sample_id": "one-0", "image_key": "of a first frame"}])
    assert found(stored) == [("embeddings", "1 of text encoder")]
    delete(stored)
    assert stored.keys("embeddings", "key") == ["of a first frame", "of a member"]


def test_a_run_that_trains_now_is_left_alone(stored):
    folder = stored.run("weights-busy", "digest-short", finished=False)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert found(stored) == []
    assert found(stored) == [("checkpoint", "checkpoints/one/short/weights-busy")]


def test_killed_at_any_moment_it_can_be_run_again(stored, monkeypatch):
    stored.latents("one", ["old-0"], weights="earlier-weights")
    stored.training_set("digest-old", ["old-0"], current=False)
    stored.run("weights-old", "digest-old", current=False)
    kept = ["one-0", "one-1", "two-0", "two-1"]
    for fatal in range(1, 60, 3):
        with monkeypatch.context() as patch:
            left = iter(range(fatal))

            def dying(original, left=left):
                def step(*args, **kwargs):
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return original(*args, **kwargs)

                return step

            store = type(stored.project.store)
            patch.setattr(store, "commit", dying(store.commit))
            patch.setattr(prune.shutil, "rmtree", dying(prune.shutil.rmtree))
            patch.setattr(pins, "move_tags", dying(pins.move_tags))
            patch.setattr(pins, "drop_tags", dying(pins.drop_tags))
            try:
                delete(stored)
                break
            except KeyboardInterrupt:
                for row in stored.project.store.read("training_sets"):  # what is named is whole, or known not to be
                    if pins.verify_digest(stored.project.store, row["digest"]):
                        uri = stored.project.store.table_uri("latents")
                        assert lance.dataset(uri, version=row["latents_version"]).count_rows() >= len(kept)
                for run in stored.project.store.read("runs"):
                    assert stored.path(run["folder"]).exists()
    else:
        pytest.fail("it never ended")
    assert fatal > 5
    delete(stored)
    assert found(stored, files=True) == []
    assert stored.keys("latents", "sample_id") == kept and stored.holds("latent old-0") == []


def test_the_command_lists_first_and_refuses_while_something_runs(stored, capsys, monkeypatch):
    stored.latents("one", ["old-0"], weights="earlier-weights")
    monkeypatch.setattr(cli.Project, "from_environment", lambda: stored.project)
    assert cli.main(["prune"]) == 0
    assert "latents      1 of hunyuan_video earlier-: of no sample and no kept training set" in capsys.readouterr().out
    assert cli.main(["prune", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["kind"] for row in rows} == {"latents"} and all(row["bytes"] > 0 for row in rows)
    with stored.project.states.lock("latents", "b00001"):
        assert cli.main(["prune", "--delete"]) == 1
    assert "latents [b00001] is at work in" in capsys.readouterr().err
    assert "old-0" in stored.keys("latents", "sample_id")
    assert cli.main(["prune", "--delete"]) == 0
    assert "freed" in capsys.readouterr().out
    assert "old-0" not in stored.keys("latents", "sample_id")
