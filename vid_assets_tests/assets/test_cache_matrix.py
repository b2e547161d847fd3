"""What is computed again after which change: exactly these assets, and exactly so many rows.

Each test brings a small home up to date, changes one thing, runs everything again, and compares the counts of rows
that were computed. What is not named was a cache hit, or had rows to drop but none to compute.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vid_assets.curation.groups import GROUPS
from vid_assets_tests.harness import Home, bump

#: Windows of a clip of 2.5 s: three of 5 frames at 8/s (0.625 s each, in 2.4 s after rounding down), two of 9.
SHORT, LONG = 4, 2
VIDEO = SHORT + LONG
STATS = len(GROUPS)


def start(home, put, training: bool = False, **config) -> Home:
    """A home that is up to date, with two videos and a still in one batch."""
    made = home(**config)
    put(made, "one.mp4", caption="a red shape")
    put(made, "two.mp4")
    put(made, "still.png", caption="a still")
    made.run(training)
    return made


def make_unreadable(path: Path) -> None:
    """Overwrite a file with noise that a listing cannot tell from what was there."""
    before = path.stat()
    path.write_bytes(os.urandom(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def samples(made: Home, name: str) -> list[dict]:
    """The samples of the file called `name`."""
    videos = {row["video_id"] for row in made.rows("sources") if row["uri"].endswith(f"/{name}")}
    return [row for row in made.rows("samples") if row["video_id"] in videos]


def test_first_run_computes_every_row(home, put):
    made = home()
    put(made, "one.mp4", caption="a red shape")
    put(made, "two.mp4")
    put(made, "still.png", caption="a still")
    assert made.run() == {
        "source_files": 3,
        "raw_videos[b00001]": 3,
        "frame_stats[b00001]": 3 * STATS,
        "clips[b00001]": 3,
        "clip_scores[b00001]": 3,
        "curated_clips[b00001]": 3,
        "captions[b00001]": 3,
        "text_embeddings[b00001]": 2,
        "vae": 1,
        "latents[b00001]": 2 * VIDEO + 1,
    }
    assert all(row["accepted"] for row in made.rows("verdicts"))


def test_nothing_changed(home, put):
    made = start(home, put, training=True)
    versions = dict(made.versions)
    assert made.run(training=True) == {}
    assert made.versions == versions
    assert {facts["cache"] for facts in made.metadata.values()} == {"hit"}


def test_a_file_is_added(home, put):
    made = start(home, put)
    put(made, "three.mp4", caption="a third one")
    assert made.run() == {
        "source_files": 1,
        "raw_videos[b00002]": 1,
        "frame_stats[b00002]": STATS,
        "clips[b00002]": 1,
        "clip_scores[b00002]": 1,
        "curated_clips[b00002]": 1,
        "captions[b00002]": 1,
        "text_embeddings[b00002]": 1,
        "latents[b00002]": VIDEO,
    }


def test_a_file_is_replaced_under_the_same_name(home, put):
    made = start(home, put)
    (old,) = {row["video_id"] for row in samples(made, "two.mp4")}
    put(made, "four.mp4", to="two.mp4")
    assert made.run() == {
        "source_files": 1,
        "raw_videos[b00001]": 1,
        "frame_stats[b00001]": STATS,
        "clips[b00001]": 1,
        "clip_scores[b00001]": 1,
        "curated_clips[b00001]": 1,
        "captions[b00001]": 1,
        "latents[b00001]": VIDEO,
    }
    assert made.batches() == ["b00001"]
    assert old not in {row["video_id"] for row in made.rows("samples")}
    replaced = [row for row in made.rows("sources") if row["state"] == "replaced"]
    assert [row["video_id"] for row in replaced] == [old]  # what it was stays readable, for lineage
    assert old in {row["video_id"] for row in made.rows("videos")}
    assert made.run() == {}


def test_a_file_is_renamed(home, put):
    made = start(home, put)
    before = samples(made, "one.mp4")
    (made.footage / "deeper").mkdir()
    for suffix in ("mp4", "txt"):
        (made.footage / f"one.{suffix}").rename(made.footage / "deeper" / f"another.{suffix}")
    assert made.run() == {"source_files": 2}
    assert made.batches() == ["b00001"]
    assert samples(made, "another.mp4") == before
    assert made.run() == {}


def test_a_file_is_touched_but_not_changed(home, put):
    made = start(home, put)
    os.utime(made.footage / "two.mp4", (1, 1))
    versions = dict(made.versions)
    assert made.run() == {"source_files": 1}
    assert made.versions == versions


def test_a_file_is_removed(home, put):
    made = start(home, put)
    made.materialize(["training_set/short"])
    (gone,) = {row["video_id"] for row in samples(made, "two.mp4")}
    (made.footage / "two.mp4").unlink()
    assert made.run() == {"source_files": 1}
    assert made.materialize(["training_set/short"]) == {"training_set/short": SHORT + 1}
    (newest,) = [row for row in made.rows("training_sets") if row["digest"] == made.versions["training_set/short"]]
    members = made.rows("training_set_members", f"digest = '{newest['digest']}'")
    latents = {row["sample_id"]: row["source_hash"] for row in made.rows("latents")}
    assert gone not in {latents[row["sample_id"]] for row in members}
    assert gone in {row["video_id"] for row in made.rows("videos")}  # readable, for lineage
    put(made, "two.mp4")  # and back again: nothing is decoded or encoded
    assert made.run() == {"source_files": 1}
    assert made.materialize(["training_set/short"]) == {"training_set/short": 0}  # the old digest, with its old pin


def test_a_second_copy_comes_in_a_later_batch(home, put):
    made = start(home, put)
    put(made, "one.mp4", to="copy.mp4")
    assert made.run() == {"source_files": 1}
    assert made.batches() == ["b00001", "b00002"]
    for _ in range(2):
        for batch in ("b00002", "b00001"):
            assert set(made.materialize(["raw_videos", "frame_stats", "clips"], batch).values()) == {0}
    assert {row["ingest_batch"] for row in made.rows("videos")} == {"b00001"}
    (made.footage / "one.mp4").unlink()  # the copy keeps the video in; it has no caption
    assert made.run() == {"source_files": 1, "captions[b00001]": 1}
    assert samples(made, "copy.mp4")


def test_copies_belong_to_the_first_batch_whichever_runs_first(home, put):
    made = home()
    put(made, "one.mp4")
    made.scan()
    put(made, "one.mp4", to="copy.mp4")
    made.scan()
    assert made.materialize(["raw_videos"], "b00002") == {"raw_videos[b00002]": 0}
    assert made.materialize(["raw_videos"], "b00001") == {"raw_videos[b00001]": 1}
    assert made.materialize(["raw_videos"], "b00002") == {"raw_videos[b00002]": 0}


def test_a_better_near_duplicate_comes_in_a_later_batch(home, put):
    made = start(home, put)
    put(made, "one_better.mp4")
    counts = made.run()
    assert counts["duplicates"] == 1
    assert counts["latents[b00002]"] == VIDEO
    assert "latents[b00001]" not in counts
    assert not samples(made, "one.mp4") and len(samples(made, "one_better.mp4")) == VIDEO
    (made.footage / "one_better.mp4").unlink()
    assert made.run() == {"source_files": 1}  # the loser is back, and was encoded already
    assert len(samples(made, "one.mp4")) == VIDEO


def test_a_promoted_loser_is_encoded_then(home, put):
    made = start(home, put)
    put(made, "one_worse.mp4")
    counts = made.run()
    assert counts["duplicates"] == 1 and "latents[b00002]" not in counts
    (made.footage / "one.mp4").unlink()
    assert made.run() == {"source_files": 1, "latents[b00002]": VIDEO}


def test_a_threshold_changes_and_no_video_is_opened(home, put):
    made = start(home, put)
    luma = sorted((row["luma"], row["clip_id"]) for row in made.rows("clip_scores"))
    for path in made.footage.glob("*.[mp][pn][4g]"):
        make_unreadable(path)
    made.change(policy={"luma_min": (luma[0][0] + luma[1][0]) / 2})
    assert made.run() == {"curated_clips[b00001]": 3}
    (rejected,) = [row for row in made.rows("verdicts") if not row["accepted"]]
    assert rejected["clip_id"] == luma[0][1]
    assert [failure["rule"] for failure in rejected["failures"]] == ["luma_min"]
    assert rejected["clip_id"] not in {row["clip_id"] for row in made.rows("samples")}
    made.change(policy={"luma_min": 20.0})
    assert made.run() == {"curated_clips[b00001]": 3}  # back: its latents are still there
    assert rejected["clip_id"] in {row["clip_id"] for row in made.rows("samples")}


def test_a_threshold_lets_more_clips_in(home, put):
    made = start(home, put, policy={"duration_min": 9.0})
    assert len(made.rows("latents")) == 1  # the still
    made.change(policy={"duration_min": 1.0})
    assert made.run() == {"curated_clips[b00001]": 3, "latents[b00001]": 2 * VIDEO}


def test_a_caption_changes(home, put):
    made = start(home, put)
    made.materialize(["training_set/short"])
    digest = made.versions["training_set/short"]
    (made.footage / "one.txt").write_text("quite another text", encoding="utf-8")
    assert made.run() == {"source_files": 1, "captions[b00001]": 1, "text_embeddings[b00001]": 1}
    made.materialize(["training_set/short"])
    assert made.versions["training_set/short"] != digest


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("clip_scores", "vid_assets.assets.curate.clip_scores.SCORES_VERSION"),
        ("curated_clips", "vid_assets.assets.curate.curated_clips.POLICY_VERSION"),
        ("clips", "vid_assets.assets.curate.clips.SHOTS_VERSION"),
        ("raw_videos", "vid_assets.assets.ingest.raw_videos.PROBE_VERSION"),
    ],
)
def test_a_code_version_is_bumped_and_equal_output_stops_there(home, put, monkeypatch, name, beside):
    made = start(home, put)
    versions = dict(made.versions)
    bump(monkeypatch, name)
    monkeypatch.setattr(beside, "bumped")
    assert made.run() == {f"{name}[b00001]": 3}
    changed = {one for one in versions if made.versions[one] != versions[one]}
    assert changed == ({"curated_clips[b00001]"} if name == "curated_clips" else set())  # it is in each verdict


def test_one_group_of_statistics_gets_a_new_version(home, put, monkeypatch):
    made = start(home, put)
    monkeypatch.setitem(GROUPS, "light", "bumped")
    bump(monkeypatch, "frame_stats", "light:bumped")
    counts = made.run()
    assert counts["frame_stats[b00001]"] == 3  # one row for each file, the other groups stay
    assert "latents[b00001]" not in counts and "raw_videos[b00001]" not in counts


def test_the_weights_of_the_vae_change(home, put, tmp_path, models):
    from model.tiny.models import save_tiny_vae

    made = start(home, put)
    made.change(vae={"source": str(save_tiny_vae(tmp_path / "other-vae", seed=1))})
    assert made.run() == {"vae": 1, "latents[b00001]": 2 * VIDEO + 1}
    made.change(vae={"source": str(models / "tiny-vae")})
    assert made.run() == {"vae": 1}  # the old latents are still there


def test_a_vae_that_only_moved_changes_nothing(home, put, tmp_path, models):
    import shutil

    made = start(home, put)
    made.change(vae={"source": str(shutil.copytree(models / "tiny-vae", tmp_path / "moved"))})
    assert made.run() == {}


def test_a_bucket_is_added(home, put):
    made = start(home, put)
    made.config["stages"][1]["buckets"].append("13x32x48@8")
    assert made.run() == {"latents[b00001]": 2 * 1}
    assert {row["bucket"] for row in made.rows("samples")} == {"1x32x48", "5x32x48@8", "9x32x48@8", "13x32x48@8"}


def test_a_setting_of_the_first_stage_makes_the_second_train_again(home, put):
    made = start(home, put, training=True)
    made.stage("short")["steps"] = 5
    assert set(made.run(training=True)) == {
        f"{what}/{stage}[one]" for what in ("checkpoint", "evaluation") for stage in ("short", "long")
    }


@pytest.mark.parametrize(
    ("asset", "partition", "rows"),
    [
        ("raw_videos", "b00001", 3),
        ("frame_stats", "b00001", 3 * STATS),
        ("clip_scores", "b00001", 3),
        ("captions", "b00001", 3),
        ("text_embeddings", "b00001", 2),
        ("latents", "b00001", 2 * VIDEO + 1),
    ],
)
def test_force_computes_one_asset_again_and_nothing_else(home, put, asset, partition, rows):
    made = start(home, put)
    config = {"ops": {asset: {"config": {"force": True}}}}
    assert made.materialize([asset], partition, config) == {f"{asset}[{partition}]": rows}
    assert made.run() == {}


def test_force_trains_one_stage_again_and_keeps_the_earlier_run(home, put):
    made = start(home, put, training=True)
    config = {"ops": {"checkpoint__long": {"config": {"force": True}}}}
    version = made.versions["checkpoint/long[one]"]
    assert made.materialize(["checkpoint/long"], "one", config) == {"checkpoint/long[one]": 3}
    assert made.versions["checkpoint/long[one]"] == version  # on the CPU, with one thread, it is the same again
    assert made.run(training=True) == {}
    assert len(list((made.folder / "home" / "checkpoints" / "one" / "long").glob("*-before-*"))) == 1


@pytest.mark.parametrize(
    ("table", "computed"),
    [
        ("videos", {"raw_videos[b00001]": 3}),
        ("clip_scores", {"clip_scores[b00001]": 3}),
        ("verdicts", {"curated_clips[b00001]": 3}),
        ("embeddings", {"text_embeddings[b00001]": 2}),
        ("samples", {}),
        ("latents", {"latents[b00001]": 2 * VIDEO + 1}),
    ],
)
def test_an_output_table_is_deleted(home, put, table, computed):
    made = start(home, put)
    before = len(made.rows(table))
    made.project.store._db.drop_table(table)
    assert made.run() == computed
    assert len(made.rows(table)) == before
    assert made.run() == {}


def test_a_checkpoint_is_deleted(home, put):
    import shutil

    made = start(home, put, training=True)
    versions = dict(made.versions)
    shutil.rmtree(made.folder / "home" / made.metadata["checkpoint/short[one]"]["folder"])
    assert made.run(training=True) == {"checkpoint/short[one]": 4}  # equal weights: what starts from them stays
    assert made.versions == versions


@pytest.mark.parametrize("damage", [b"", b"{", b'{"seal": "0", "state": {}}'])
def test_a_stored_fingerprint_is_damaged(home, put, damage):
    made = start(home, put)
    versions = dict(made.versions)
    for name in ("frame_stats", "latents"):
        path = made.project.states.path(name, "b00001")
        text = path.read_bytes()
        path.write_bytes(damage or text.replace(b'"rows": 3', b'"rows": 4').replace(b'"rows": 1', b'"rows": 2'))
    assert made.run() == {}  # the rows are there, and prove themselves one by one
    assert made.versions == versions


def test_a_run_that_dies_in_the_middle_of_an_asset_goes_on_from_its_last_flush(home, put, monkeypatch):
    from vid_assets.encoding.backend import LocalBackend

    made = start(home, put, policy={"duration_min": 9.0}, encoding={"batch_size": 1, "flush_rows": 2})
    made.change(policy={"duration_min": 1.0})
    original, count = LocalBackend._rows, 0

    def dies(self, batch):
        nonlocal count
        count += len(batch)
        if count > 7:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(LocalBackend, "_rows", dies)
    made.materialize(["curated_clips"], "b00001")
    with pytest.raises(BaseException):  # noqa: B017 - however Dagster wraps it
        made.materialize(["duplicates", "latents"], "b00001")
    assert made.project.states.read("latents", "b00001") is None
    monkeypatch.undo()
    assert made.run() == {"latents[b00001]": 2 * VIDEO - 6}  # three flushes of two were kept, the seventh row was not


def test_what_is_made_from_unfinished_data_is_refused(home, put):
    made = start(home, put)
    made.project.states.remove("clips", "b00001")
    made.materialize(["clip_scores"], "b00001", fail=True)
    assert made.project.states.read("clips", "b00001") is None
    made.change(policy={"luma_min": 21.0})
    result = made.materialize(["training_set/short"], fail=True)
    assert "training_set/short" not in result
