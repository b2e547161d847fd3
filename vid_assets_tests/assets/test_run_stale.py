"""Running whatever is stale: in order, only that, and not what needs something that failed."""

from __future__ import annotations

from vid_assets.orchestration.launching import Launch, run_stale
from vid_assets.reports.staleness import standings
from vid_assets_tests.harness import Home


def run(made: Home, training: bool = False, broken: tuple[str, ...] = ()) -> tuple[list[Launch], list[str]]:
    """Run what is stale in this process; the launches that were made, and what was said."""

    def start(launch: Launch) -> bool:
        if set(broken) & set(launch.assets):
            return False
        return len(made.materialize(launch.assets, launch.partition, fail=True)) == len(launch.assets)

    said: list[str] = []
    ran = run_stale(made.project, said.append, training, start)
    return ran.launched, said


def test_everything_stale_runs_in_order_and_then_nothing_is(home, put):
    made = home()
    put(made, "one.mp4", caption="a red shape")
    put(made, "still.png")
    launched, _ = run(made, training=True)
    assert [launch.assets[0] for launch in launched] == [
        "source_files",
        "raw_videos",
        "duplicates",
        "latents",
        "training_set/short",
        "checkpoint/short",
    ]
    assert [one.name for one in standings(made.project) if one.condition != "fresh"] == []
    assert run(made, training=True)[0] == []


def test_only_what_a_change_reaches_runs(home, put):
    made = home()
    put(made, "one.mp4")
    put(made, "still.png")
    run(made)
    put(made, "two.mp4")
    made.scan()
    launched, _ = run(made)
    assert {launch.partition for launch in launched if launch.partition} == {"b00002"}
    made.change(policy={"luma_min": 20.5})
    launched, _ = run(made)
    batches = [launch for launch in launched if launch.partition]
    assert [(launch.assets, launch.partition) for launch in batches] == [
        (("curated_clips",), "b00001"),
        (("curated_clips",), "b00002"),
    ]


def test_what_needs_a_failed_launch_is_skipped_and_says_so(home, put):
    made = home()
    put(made, "one.mp4")
    put(made, "still.png")
    launched, said = run(made, training=True, broken=("clips",))
    assert [launch.assets[0] for launch in launched] == ["source_files", "raw_videos", "duplicates"]
    assert any(line.startswith("skipped:") and "latents" in line for line in said)
