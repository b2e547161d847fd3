"""What must never happen in silence: wrong content under a right name, lost rows, damage taken for a whole."""

from __future__ import annotations

import os
import shutil

import pytest

from vid_assets.assets.train import training_set as training_sets
from vid_assets.footage.opening import CHANGED
from vid_assets.reports.staleness import standings
from vid_assets.store.tables import equals
from vid_assets_tests.assets.test_cache_matrix import STATS, VIDEO, samples, start
from vid_assets_tests.harness import DATA, bump, work_of


def conditions(made) -> dict[str, str]:
    """What is not fresh, by asset partition, training aside."""
    return {one.name: one.condition for one in standings(made.project, DATA) if one.condition != "fresh"}


def test_a_file_that_changed_since_the_scan_is_refused(home, put, clips):
    made = home()
    put(made, "one.mp4")
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    shutil.copyfile(clips / "two.mp4", made.footage / "one.mp4")
    made.materialize(["frame_stats"], "b00001")
    assert {(row["status"], row["error"]) for row in made.rows("frame_stats")} == {("failed", CHANGED)}
    made.run()
    (video,) = {row["video_id"] for row in made.rows("samples")}
    put(made, "one.mp4", to="original.mp4")
    made.run()
    made.run()  # the video belongs to the first batch, which learns only now that it is back
    assert len({row["packet_hash"] for row in made.rows("frame_stats", "`group` = 'proof'")}) == 2
    assert made.rows("duplicates") == []
    assert {row["video_id"] for row in made.rows("samples")} > {video}


def test_a_file_that_changes_while_it_is_hashed_is_refused(home, put, clips, monkeypatch):
    from vid_assets.assets.ingest import raw_videos as videos

    made = home()
    put(made, "one.mp4")
    made.scan()
    original = videos.file_hash

    def slow(uri: str) -> str:
        found = original(uri)
        shutil.copyfile(clips / "two.mp4", uri)
        return found

    monkeypatch.setattr(videos, "file_hash", slow)
    made.materialize(["raw_videos"], "b00001", fail=True)
    (row,) = made.rows("videos")
    assert (row["status"], row["error"]) == ("failed", CHANGED) and made.rows("sources")[0]["video_id"] is None


def test_a_header_read_anew_is_that_of_the_file_that_was_hashed(home, put, clips, monkeypatch):
    made = home()
    put(made, "one.mp4")
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    before = made.rows("videos")
    shutil.copyfile(clips / "one_better.mp4", made.footage / "one.mp4")  # and no scan yet
    bump(monkeypatch, "raw_videos")
    monkeypatch.setattr("vid_assets.assets.ingest.raw_videos.PROBE_VERSION", "bumped")
    assert made.materialize(["raw_videos"], "b00001") == {"raw_videos[b00001]": 0}
    assert made.rows("videos") == before


def test_a_file_that_cannot_be_read_does_not_stop_those_beside_it(home, put, monkeypatch):
    """It was replaced by what cannot be opened, and another release reads headers anew."""
    made = home()
    put(made, "one.mp4")
    put(made, "two.mp4")
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    (made.footage / "two.mp4").unlink()
    (made.footage / "two.mp4").symlink_to(made.folder / "nowhere.mp4")
    made.scan()
    bump(monkeypatch, "raw_videos")
    monkeypatch.setattr("vid_assets.assets.ingest.raw_videos.PROBE_VERSION", "bumped")
    made.materialize(["raw_videos"], "b00001")
    errors = sorted(row["error"] or "" for row in made.rows("videos"))
    assert errors == ["", "", "cannot be read: No such file or directory"]  # two.mp4 as it was stays, for lineage


def test_what_a_limit_stopped_and_was_away_when_it_was_raised_goes_by_its_content(home, put):
    """Two copies of it are then one video."""
    made = home(decoding={"max_pixels": 2000}, ingest={"readable_share_min": 0})

    def read() -> None:
        made.scan()
        for batch in made.batches():
            made.materialize(["raw_videos"], batch)

    still = put(made, "still.png")
    put(made, "one.mp4")
    read()
    still.rename(made.folder / "away.png")
    read()
    made.change(decoding={"max_pixels": 100_000})
    read()
    (made.folder / "away.png").rename(still)
    put(made, "still.png", to="copy.png")
    read()
    (video,) = made.rows("videos", "kind = 'image'")
    assert {row["video_id"] for row in made.rows("sources") if row["uri"].endswith("copy.png")} == {video["video_id"]}


def test_a_header_that_claims_other_frames_is_proved_anew(home, put, monkeypatch):
    """And nothing but the proof is decoded for again."""
    from dataclasses import replace

    from vid_assets.assets.ingest import raw_videos as videos

    made = home()
    put(made, "one.mp4")
    made.run()
    probe_apart = videos.probe_apart
    monkeypatch.setattr(videos, "probe_apart", lambda *args: replace(probe_apart(*args), claimed_frames=40))
    bump(monkeypatch, "raw_videos")
    monkeypatch.setattr(videos, "PROBE_VERSION", "bumped")
    assert made.run()["frame_stats[b00001]"] == 1
    (proof,) = made.rows("frame_stats", "`group` = 'proof'")
    assert proof["decoded_ratio"] == 30 / 40


def test_a_damaged_checkpoint_is_trained_again_and_kept_aside(home, put):
    made = start(home, put, training=True)
    final = made.folder / "home" / made.metadata["checkpoint/long[one]"]["folder"]
    version = made.versions["checkpoint/long[one]"]
    (weights,) = (final / "ema").glob("*.safetensors")
    weights.write_bytes(b"")
    assert made.run(training=True) == {"checkpoint/long[one]": 3}
    assert made.versions["checkpoint/long[one]"] == version
    assert weights.stat().st_size > 0 and len(list(final.parent.glob("damaged-*"))) == 1


@pytest.mark.parametrize("table", ["clips", "clip_scores", "verdicts", "samples", "latents", "frame_stats"])
def test_a_single_lost_row_comes_back(home, put, table):
    made = start(home, put)
    rows = made.rows(table)
    key = {"frame_stats": "row_id", "samples": "row_id", "latents": "sample_id"}.get(table, "clip_id")
    made.project.store.delete(table, equals(key, rows[0][key]))
    made.run()
    assert [row[key] for row in made.rows(table)] == [row[key] for row in rows]
    assert made.run() == {}


def test_a_file_that_was_away_is_decoded_when_it_comes_back(home, put):
    made = home()
    put(made, "one.mp4")
    away = put(made, "two.mp4")
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    away.rename(made.folder / "away.mp4")
    counts = made.run()
    assert counts["frame_stats[b00001]"] == STATS
    (made.folder / "away.mp4").rename(away)
    counts = made.run()
    assert counts["frame_stats[b00001]"] == STATS and counts["latents[b00001]"] == VIDEO


def test_a_failed_check_blocks_later_runs_too_and_can_be_cured(home, put):
    made = home()
    put(made, "one.mp4")
    for number in range(3):
        (made.footage / f"broken{number}.mp4").write_bytes(bytes(number))
    made.scan()
    made.materialize(["raw_videos"], "b00001", fail=True)
    assert made.materialize(["frame_stats"], "b00001", fail=True) == {}
    assert conditions(made)["raw_videos[b00001]"] == "failed"
    for number in range(3):
        (made.footage / f"broken{number}.mp4").unlink()
    made.scan(confirm=True)
    made.run()
    assert conditions(made) == {}


def test_force_hashes_again(home, put, clips):
    made = start(home, put)
    path = made.footage / "two.mp4"
    before = path.stat()
    data = (clips / "four.mp4").read_bytes()[: before.st_size].ljust(before.st_size, b"\0")
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert made.run() == {}  # a change that keeps size and time is seen by nobody, until it is asked for
    made.materialize(["raw_videos"], "b00001", {"ops": {"raw_videos": {"config": {"force": True}}}})
    assert len({row["video_id"] for row in made.rows("sources", "uri LIKE '%two.mp4%'")}) == 2


def test_a_copy_of_a_held_out_video_never_trains(home, put):
    made = start(home, put)
    made.materialize(["training_set/short"])
    one, two = ({row["video_id"] for row in samples(made, name)}.pop() for name in ("one.mp4", "two.mp4"))
    store = made.project.store
    store.upsert("splits", [row | {"split": "heldout"} for row in made.rows("splits", equals("video_id", one))])
    clip_of = {row["video_id"]: row["clip_id"] for row in made.rows("clips")}
    lost = {"clip_id": clip_of[two], "duplicate_of": clip_of[one], "distance": 1, "kind": "near"}
    store.upsert("duplicates", [lost | {"ingest_batch": "elsewhere", "cache_key": "", "content_hash": ""}])
    splits = training_sets._splits(work_of(made.project, "training_set/short"), made.rows("samples"))
    assert splits[one] == "heldout" and two not in splits


def test_the_split_of_a_video_never_changes(home, put):
    made = start(home, put, heldout={"share": 0.0, "minimum": 1})
    made.materialize(["training_set/short"])
    before = {row["video_id"]: row["split"] for row in made.rows("splits")}
    assert list(before.values()).count("heldout") == 1
    put(made, "three.mp4")
    made.change(heldout={"share": 1.0})
    made.run()
    made.materialize(["training_set/short"])
    after = {row["video_id"]: row["split"] for row in made.rows("splits")}
    assert after.items() >= before.items()
    assert {split for video, split in after.items() if video not in before} == {"heldout"}


def test_two_processes_never_insert_one_key_twice(home, put):
    import multiprocessing

    made = home()
    made.project.store.table("splits")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_insert, args=(made.project.home, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = made.rows("splits")
    assert len(rows) == len({row["video_id"] for row in rows}) == 20


def _insert(folder: str, name: str) -> None:
    from vid_assets.store.tables import Store

    for number in range(20):
        Store(folder).insert_absent("splits", [{"video_id": str(number), "group_video": name, "split": "train"}])
