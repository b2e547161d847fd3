"""`vid-assets remove`: nothing of the video is left on the disk, all else is as it was, and it does not come back."""

from __future__ import annotations

import fcntl
import json
from datetime import timedelta
from pathlib import Path

import lance
import pytest

from vid_assets import cli
from vid_assets.commands.remove import describe
from vid_assets.home import removal
from vid_assets.reports.staleness import standings
from vid_assets.reports.why import explain
from vid_assets.section import ConfigError
from vid_assets.store import pins, upkeep
from vid_assets.store.state import BusyError
from vid_assets_tests.harness import DATA, Home
from vid_assets_tests.stored import BATCH_ASSETS, Stored

_OF_ONE = ("latent one-0", "latent one-1", "thumbnail one", "states of a red shape", "first frame of one")


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Two batches; a training set with the video `one` and a run on it, a set without it; pictures of both."""
    made = Stored(Home(tmp_path / "home", tmp_path / "no models", text_encoder=None))
    ids = made.video("one", caption="a red shape") + made.video("two", batch="b00002", caption="a blue shape")
    made.embedding("first frame of one", None, kind="image")
    frame = {"sample_id": "one-0", "video_id": made.video_id("one"), "image_key": "first frame of one"}
    made.project.store.upsert("first_frames", [frame])
    made.training_set("digest-without", ids[2:], stage="long")
    made.training_set("digest-with", ids)
    made.run("weights-a", "digest-with")
    made.run("weights-b", "digest-without", parent="weights-a", stage="long")
    made.evaluation("eval-with", ids[:1])
    made.evaluation("eval-without", ids[2:], stage="long")
    for name in ("b00001/kept.png", "b00002/kept.png", "all/funnel.png", "audit/b00001.jpg", "audit/b00002.jpg"):
        made.path("views", name).parent.mkdir(parents=True, exist_ok=True)
        made.path("views", name).write_bytes(b"picture")
    return made


def remove(stored: Stored, what: str = "one.mp4") -> removal.Removal:
    plan = removal.removal_of(stored.project, what)
    removal.remove(stored.project, plan, progress=lambda text: None)
    return plan


def left(stored: Stored) -> list[str]:
    return [name for name in _OF_ONE if stored.holds(name)]


def test_its_bytes_are_gone_from_the_disk_and_no_others(stored):
    assert left(stored) == list(_OF_ONE)
    remove(stored)
    assert left(stored) == []
    for name in ("latent two-0", "latent two-1", "thumbnail two", "states of a blue shape"):
        assert stored.holds(name)
    assert stored.path("checkpoints/one/short/weights-a/final").exists()


def test_bytes_in_old_versions_and_of_rows_deleted_long_ago_go_too(stored):
    store = stored.project.store
    store.delete("latents", "sample_id = 'one-1'")
    upkeep.compact(store, "latents", 100, 0.9)
    stored.training_set("digest-without", ["two-0", "two-1"], stage="long")
    remove(stored)
    assert left(stored) == []


def test_a_tag_of_the_users_own_that_holds_it_goes_too(stored):
    for table in ("latents", "frame_stats"):
        handle = stored.project.store.table(table)
        handle.tags.create("before-i-try-something", handle.version)
    plan = remove(stored)
    assert plan.tags == ("before-i-try-something of frame_stats", "before-i-try-something of latents")
    assert left(stored) == []


def test_its_rows_are_gone_from_every_table(stored):
    plan = remove(stored)
    assert plan.rows == {
        "embeddings": 2, "samples": 2, "first_frames": 1, "latents": 2, "captions": 1, "verdicts": 1, "clip_scores": 1,
        "clips": 1, "frame_stats": 1, "videos": 1,
    }  # fmt: skip
    assert stored.keys("clips", "clip_id") == stored.keys("captions", "clip_id") == ["clip-two"]
    assert stored.keys("latents", "sample_id") == stored.keys("samples", "sample_id") == ["two-0", "two-1"]
    assert stored.keys("videos", "video_id") == [stored.video_id("two")]
    assert len(stored.keys("sources", "uri")) == 2, "what was listed is known still"


def test_pins_that_hold_it_go_and_others_stay_whole(stored):
    plan = remove(stored)
    assert plan.digests == ("digest-with",)
    assert pins.verify_digest(stored.project.store, "digest-with") is None
    assert pins.verify_digest(stored.project.store, "digest-without") == "digest-without"
    version = pins.pinned_row(stored.project.store, "digest-without")["latents_version"]
    pinned = lance.dataset(stored.project.store.table_uri("latents"), version=version)
    assert pinned.count_rows() == 2 and len(pinned.versions()) == 1


def test_checkpoints_that_saw_it_are_named_and_stay(stored):
    stored.run("weights-c", "digest-without", current=False)
    unfinished = stored.run("weights-d", "digest-without", finished=False, current=False)
    plan = removal.removal_of(stored.project, "one.mp4")
    assert plan.checkpoints == ("checkpoints/one/long/weights-b", "checkpoints/one/short/weights-a")
    assert plan.restarted == (stored.relative(unfinished),)
    text = "\n".join(describe(plan))
    assert "STAYS, AND WAS TRAINED ON IT: checkpoints/one/short/weights-a" in text
    removal.remove(stored.project, plan, progress=lambda text: None)
    (row,) = removal.removals(stored.project)
    assert row["checkpoints"] == list(plan.checkpoints) and row["digests"] == ["digest-with"]


def test_it_waits_for_a_training_process_that_lost_its_parent(stored):
    folder = stored.run("weights-d", "digest-without", finished=False, current=False)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"still trains in checkpoints/one/short/weights-d"):
            remove(stored)
    assert left(stored) == list(_OF_ONE) and removal.removals(stored.project) == []


def test_pictures_that_show_it_go(stored):
    remove(stored)
    there = {stored.relative(path) for path in stored.path("views").rglob("*") if path.is_file()}
    assert there == {"views/b00002/kept.png", "views/audit/b00002.jpg"}
    assert [path.name for path in stored.path("evaluations/one").glob("*/*")] == ["eval-without"]


def test_what_was_made_from_it_is_stale_and_nothing_else(stored):
    remove(stored)
    states = stored.project.states
    assert [states.read(asset, "b00001") for asset in BATCH_ASSETS] == [None] * len(BATCH_ASSETS)
    assert all(states.read(asset, "b00002") for asset in BATCH_ASSETS)
    assert states.read("duplicates", None) is states.read("training_set/short", None) is None
    assert states.read("training_set/long", None)


def test_a_caption_and_its_states_stay_where_another_clip_has_them(stored):
    stored.video("three", batch="b00002", caption="a red shape")
    remove(stored)
    assert stored.holds("states of a red shape")


def test_a_video_is_named_by_path_or_by_id(stored):
    project, video_id = stored.project, stored.video_id("one")
    for name in ("/footage/one.mp4", "footage/one.mp4", "one.mp4", video_id, video_id[:6]):
        assert removal.removal_of(project, name).video_id == video_id
    for name in ("ne.mp4", "three.mp4", video_id[:5], "", "*"):
        with pytest.raises(ConfigError, match="no file that was ever read is called so"):
            removal.removal_of(project, name)
    stored.project.store.upsert(
        "sources", [{"uri": "/other/one.mp4", "video_id": stored.video_id("two"), "ingest_batch": "b00001"}]
    )
    with pytest.raises(ConfigError, match=r"one\.mp4 means 2 videos; name one of them: .*/footage/one\.mp4"):
        removal.removal_of(project, "one.mp4")


def test_a_path_as_the_shell_completes_it_means_that_file_and_no_other_of_the_name(stored, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    other = {"uri": str(tmp_path / "one.mp4"), "video_id": stored.video_id("two"), "ingest_batch": "b00002"}
    stored.project.store.upsert("sources", [other])
    for name in ("./one.mp4", "one.mp4", f"../{tmp_path.name}/one.mp4"):
        assert removal.removal_of(stored.project, name).video_id == stored.video_id("two")
    remove(stored, "./one.mp4")
    remove(stored, "/footage/one.mp4")
    removal.undo(stored.project, "./one.mp4")
    assert [row["video_id"] for row in removal.removals(stored.project)] == [stored.video_id("one")]


def test_copies_and_earlier_content_are_named(stored):
    store = stored.project.store
    store.upsert("duplicates", [{"clip_id": "clip-two", "duplicate_of": "clip-one", "ingest_batch": "b00002"}])
    earlier = {"uri": "/footage/one.mp4@0123", "video_id": "0123", "ingest_batch": "b00001", "state": "replaced"}
    store.upsert("sources", [earlier])
    plan = removal.removal_of(stored.project, "one.mp4")
    assert plan.copies == (f"{stored.video_id('two')} /footage/two.mp4",)
    assert plan.earlier == ("/footage/one.mp4@0123",)
    remove(stored)
    assert stored.keys("duplicates", "clip_id") == []


def test_killed_at_any_moment_it_goes_on_where_it_is_asked_for_again(stored, monkeypatch):
    for fatal in range(1, 100, 4):
        with monkeypatch.context() as patch:
            count = iter(range(fatal))

            def dying(original, count=count):
                def step(*args, **kwargs):
                    if next(count, None) is None:
                        raise KeyboardInterrupt
                    return original(*args, **kwargs)

                return step

            store = type(stored.project.store)
            patch.setattr(store, "commit", dying(store.commit))
            patch.setattr(removal, "remove_folder", dying(removal.remove_folder))
            patch.setattr(pins, "move_tags", dying(pins.move_tags))
            patch.setattr(pins, "drop_tags", dying(pins.drop_tags))
            try:
                remove(stored, stored.video_id("one"))
                break
            except KeyboardInterrupt:
                rows = removal.removals(stored.project)
                assert not rows or rows[0]["finished_at"] is None
    else:
        pytest.fail("it never ended")
    assert fatal > 5 and left(stored) == []
    (row,) = removal.removals(stored.project)
    assert row["finished_at"] and row["digests"] == ["digest-with"] and len(row["checkpoints"]) == 2
    assert pins.verify_digest(stored.project.store, "digest-without")


def test_the_command_asks_lists_and_takes_back(stored, capsys, monkeypatch):
    monkeypatch.setattr(cli.Project, "from_environment", lambda: stored.project)
    assert cli.main(["remove", "one.mp4"]) == 2
    assert "where nobody can answer, give --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert cli.main(["remove", "one.mp4"]) == 1 and left(stored) == list(_OF_ONE)
    capsys.readouterr()
    with stored.project.states.lock("checkpoint/short", "one"):
        assert cli.main(["remove", "one.mp4", "--yes"]) == 1
    assert "checkpoint/short [one] is at work" in capsys.readouterr().err
    assert cli.main(["remove", "one.mp4", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uris"] == ["/footage/one.mp4"] and left(stored) == []
    assert cli.main(["remove", "--list"]) == 0
    assert "/footage/one.mp4" in capsys.readouterr().out
    assert cli.main(["remove", "--undo", "one.mp4"]) == 0 and removal.removals(stored.project) == []


def test_a_removed_video_is_not_ingested_again_until_that_is_undone(home, put, monkeypatch):
    """And upkeep of every table after every asset makes nothing stale."""
    monkeypatch.setattr(upkeep, "MANY", 1)
    monkeypatch.setattr(upkeep, "GRACE", timedelta(0))
    made = home()
    put(made, "one.mp4", caption="a red shape")
    put(made, "still.png")
    made.run()
    made.materialize(["training_set/short"])
    assert {one.condition for one in standings(made.project, (*DATA, "training_set/short"))} == {"fresh"}
    assert len(made.project.store.table("videos").to_lance().versions()) <= 2
    (video,) = {row["video_id"] for row in made.rows("sources") if row["uri"].endswith("one.mp4")}
    removal.remove(made.project, removal.removal_of(made.project, "one.mp4"), progress=lambda text: None)
    put(made, "one.mp4", to="under another name.mp4", caption="a red shape")
    (made.footage / "one.mp4").touch()
    counts = made.run()
    counts |= made.materialize(["training_set/short"])
    assert not {"frame_stats[b00001]", "latents[b00001]"} & {name for name, count in counts.items() if count}
    assert video not in {row["video_id"] for row in [*made.rows("videos"), *made.rows("samples")]}
    assert {one.condition for one in standings(made.project, (*BATCH_ASSETS, "duplicates"))} == {"fresh"}
    assert made.metadata["raw_videos[b00001]"]["taken down"] == 1
    assert "taken down with `vid-assets remove`" in explain(made.project, "one.mp4")[0]
    removal.undo(made.project, "one.mp4")
    made.run()
    made.run()  # the copy is of a later batch; the first batch has the video, and learns of it in turn
    assert video in {row["video_id"] for row in made.rows("samples")}
