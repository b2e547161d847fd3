"""Footage that is dropped into the folder becomes latents without a hand: the real daemon on the real definitions."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from vid_assets_tests.e2e.processes import Process, started
from vid_assets_tests.harness import REPO, Home

#: `dagster-daemon run`. Its two sensor loops pause for 5 s between rounds, which no setting changes; here for 1 s.
_DAEMON = """
import dagster._daemon.asset_daemon, dagster._daemon.sensor
dagster._daemon.sensor.MIN_INTERVAL_LOOP_TIME = dagster._daemon.asset_daemon.MIN_INTERVAL_LOOP_SECONDS = 1
from dagster._daemon.cli import main
main()
"""
DONE = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class Daemon:
    """A daemon at work on a home, and what its instance says."""

    def __init__(self, process: Process, instance: dg.DagsterInstance) -> None:
        self.process, self.instance = process, instance

    def runs(self) -> dict[str, dg.DagsterRunStatus]:
        return {run.run_id: run.status for run in self.instance.get_runs()}

    def ticks(self, sensor: str) -> int:
        """How often a sensor was evaluated to its end."""
        states = [state for state in self.instance.all_instigator_state() if state.instigator_name == sensor]
        return sum(
            tick.status in (TickStatus.SKIPPED, TickStatus.SUCCESS)
            for state in states
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=500)
        )

    def wait_for_ticks(self, sensor: str, more: int, seconds: float) -> None:
        goal = self.ticks(sensor) + more
        self.process.wait_for(f"{more} ticks of {sensor}", lambda: self.ticks(sensor) >= goal, seconds)

    def wait_for_runs(self, number: int, seconds: float) -> None:
        def ended() -> bool:
            statuses = self.runs().values()
            return len(statuses) >= number and all(status in DONE for status in statuses)

        self.process.wait_for(f"{number} ended runs", ended, seconds)


@pytest.fixture
def watching(home) -> Iterator[tuple[Home, Daemon]]:
    made = home(ingest={"watch": True, "settle_s": 1, "sensor_interval_s": 1})
    environment = made.environment()
    arguments = ["-c", _DAEMON, "run", "--workspace", str(REPO / "workspace.yaml")]
    with (
        started(arguments, environment, made.folder, made.folder / "daemon.log") as process,
        dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance,
    ):
        yield made, Daemon(process, instance)


@pytest.mark.slow
def test_a_dropped_file_becomes_latents_and_dropped_again_unchanged_nothing_runs(watching, put):
    home, daemon = watching
    daemon.wait_for_ticks("new_footage", 1, 120)
    assert daemon.runs() == {}

    put(home, "one.mp4", caption="moving shapes")
    daemon.wait_for_runs(1, 240)
    (run,) = daemon.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS, daemon.process.tail()
    assert run.tags["vid_assets/started_by"] == "new_footage"
    assert run.tags["dagster/partition"] == "b00001"
    samples = home.rows("samples")
    assert samples and {row["kind"] for row in samples} == {"video"}
    latents = {
        row["sample_id"]: row["status"] for row in home.project.store.read("latents", columns=["sample_id", "status"])
    }
    assert {latents[row["sample_id"]] for row in samples} == {"ok"}

    before = daemon.runs()
    put(home, "one.mp4")
    daemon.wait_for_ticks("new_footage", 6, 120)
    daemon.wait_for_ticks("follow_changes", 1, 120)
    assert daemon.runs() == before, "the same bytes were written again, and something ran"

    put(home, "still.png")
    daemon.wait_for_runs(2, 240)
    daemon.wait_for_ticks("follow_changes", 1, 120)
    runs = daemon.instance.get_runs()
    assert [run.tags["dagster/partition"] for run in runs] == ["b00002", "b00001"], "the other batch was left alone"
    assert {row["ingest_batch"] for row in home.rows("samples")} == {"b00001", "b00002"}
