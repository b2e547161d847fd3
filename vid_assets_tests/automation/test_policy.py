"""The automation policy `follow_changes`, by what it requests, tick after tick."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor

from vid_assets.definitions import build_definitions
from vid_assets.orchestration.assets import build_assets
from vid_assets.orchestration.automation import automation_sensor, follow_changes
from vid_assets.orchestration.sensor import batch_run
from vid_assets_tests.harness import bump


class Graph:
    """`table` (ignored) and `source` -> `made` -> `last`, in an instance of their own, and the ticks of the policy."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: AssetDaemonCursor | None = None
        self.versions = {"table": "1", "source": "1", "made": "1", "last": "1"}
        self.code = {"made": "1", "last": "1"}
        self.failing: set[str] = set()

    def assets(self) -> list[dg.AssetsDefinition]:
        def asset(name: str, deps: list[str], condition: dg.AutomationCondition | None) -> dg.AssetsDefinition:
            @dg.asset(name=name, deps=deps, automation_condition=condition, code_version=self.code.get(name))
            def made() -> dg.MaterializeResult:
                if name in self.failing:
                    raise dg.Failure("asked to fail", allow_retries=False)
                return dg.MaterializeResult(data_version=dg.DataVersion(self.versions[name]))

            return made

        return [
            asset("table", [], None),
            asset("source", [], None),
            asset("made", ["table", "source"], follow_changes(ignore=("table",))),
            asset("last", ["made"], follow_changes()),
        ]

    def run(self, *names: str) -> bool:
        return dg.materialize(
            self.assets(), selection=list(names), instance=self.instance, raise_on_error=False
        ).success

    def change(self, name: str) -> None:
        """Give an asset a new data version, by a run."""
        self.versions[name] += "1"
        assert self.run(name)

    def tick(self) -> set[str]:
        """What the policy requests now; runs nothing."""
        result = dg.evaluate_automation_conditions(self.assets(), self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        keys = ("made", "last")
        return {name for name in keys if result.get_num_requested(dg.AssetKey(name))}

    def follow(self, ticks: int = 4) -> list[set[str]]:
        """What the policy requests in a row of ticks, each request run before the next tick."""
        requested = []
        for _ in range(ticks):
            requested.append(self.tick())
            if requested[-1]:
                self.run(*requested[-1])
        return requested


def started(instance: dg.DagsterInstance, job: dg.JobDefinition, asset: str) -> dg.DagsterRun:
    """A run of an asset that is under way, in another process as it were."""
    run = instance.create_run_for_job(job, asset_selection=frozenset({dg.AssetKey(asset)}))
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name), run.run_id)
    return run


@pytest.fixture
def graph() -> Iterator[Graph]:
    """Everything materialized, and the policy has seen it."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Graph(instance)
        made.run("table", "source", "made", "last")
        assert made.follow(2) == [set(), set()]
        yield made


def test_nothing_changed_requests_nothing(graph):
    assert graph.follow() == [set()] * 4


def test_an_unchanged_data_version_requests_nothing(graph):
    graph.run("source")
    assert graph.follow() == [set()] * 4


def test_a_changed_data_version_is_requested_once(graph):
    graph.change("source")
    assert graph.follow() == [{"made"}, set(), set(), set()]


def test_a_change_is_carried_on_only_where_the_content_changed(graph):
    graph.change("source")
    graph.versions["made"] = "2"
    assert graph.follow() == [{"made"}, {"last"}, set(), set()]


def test_a_changed_code_version_is_requested_once(graph):
    graph.code["made"] = "2"
    assert graph.follow() == [{"made"}, set(), set(), set()]


def test_an_ignored_table_requests_nothing(graph):
    graph.change("table")
    assert graph.follow() == [set()] * 4


def test_a_change_that_comes_while_the_asset_runs_is_followed_when_it_has_ended(graph):
    job = dg.define_asset_job("before", selection=["made"]).resolve(
        asset_graph=dg.Definitions(graph.assets()).resolve_asset_graph()
    )
    run = started(graph.instance, job, "made")
    graph.change("source")
    assert graph.tick() == set()
    graph.instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job.name), run.run_id)
    assert graph.follow() == [{"made"}, set(), set(), set()]


def test_a_failed_run_is_not_tried_at_every_tick_but_again_after_the_next_change(graph):
    graph.failing.add("made")
    graph.change("source")
    assert graph.follow() == [{"made"}, set(), set(), set()]
    graph.change("source")
    assert graph.follow() == [{"made"}, set(), set(), set()]
    graph.failing.clear()
    graph.code["made"] = "2"
    assert graph.follow() == [{"made"}, set(), set(), set()]


def test_a_change_is_latched_while_the_input_runs(graph):
    graph.change("source")
    job = dg.define_asset_job("again", selection=["source"]).resolve(
        asset_graph=dg.Definitions(graph.assets()).resolve_asset_graph()
    )
    run = started(graph.instance, job, "source")
    assert graph.tick() == set()
    graph.instance.report_run_failed(run)
    assert graph.follow() == [{"made"}, set(), set(), set()]


def test_an_input_that_was_never_made_is_waited_for():
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(instance)
        assert graph.follow(2) == [set(), set()]
        graph.run("table")
        assert graph.follow(2) == [set(), set()]


# --- by partition


class Batches:
    """`source` -> `made`, both by batch, like the assets from `raw_videos` to `latents`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None
        self.versions = {"b1": "1", "b2": "1"}
        self.by_batch = dg.DynamicPartitionsDefinition(name="batch")
        self.failing: set[str] = set()
        instance.add_dynamic_partitions("batch", list(self.versions))

    def assets(self) -> list[dg.AssetsDefinition]:
        @dg.asset(partitions_def=self.by_batch)
        def source(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return dg.MaterializeResult(data_version=dg.DataVersion(self.versions[context.partition_key]))

        @dg.asset(partitions_def=self.by_batch, deps=[source], automation_condition=follow_changes())
        def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            if context.partition_key in self.failing:
                raise dg.Failure("asked to fail", allow_retries=False)
            return dg.MaterializeResult(data_version=dg.DataVersion("1"))

        return [source, made]

    def run(self, name: str, batch: str) -> None:
        dg.materialize(
            self.assets(), selection=[name], partition_key=batch, instance=self.instance, raise_on_error=False
        )

    def follow(self, ticks: int = 3) -> list[set[str]]:
        requested = []
        for _ in range(ticks):
            result = dg.evaluate_automation_conditions(self.assets(), self.instance, cursor=self.cursor)
            self.cursor = result.cursor
            requested.append(set(result.get_requested_partitions(dg.AssetKey("made"))))
            for batch in requested[-1]:
                self.run("made", batch)
        return requested


def test_a_change_in_one_batch_requests_that_batch_and_a_failed_one_holds_up_no_other():
    with dg.DagsterInstance.ephemeral() as instance:
        batches = Batches(instance)
        for batch in ("b1", "b2"):
            batches.run("source", batch)
            batches.run("made", batch)
        assert batches.follow(2) == [set(), set()]
        batches.versions["b2"] = "2"
        batches.run("source", "b2")
        assert batches.follow() == [{"b2"}, set(), set()]
        batches.failing.add("b1")
        batches.versions |= {"b1": "3", "b2": "3"}
        for batch in ("b1", "b2"):
            batches.run("source", batch)
        assert batches.follow() == [{"b1", "b2"}, set(), set()]


# --- the real assets


def requested(home, cursor: AssetDaemonCursor | None) -> tuple[set[str], AssetDaemonCursor]:
    """What the policy requests of a home's assets now."""
    defs = build_definitions(home.project)
    result = dg.evaluate_automation_conditions(defs, home.instance, cursor=cursor)
    found = set()
    for one in result.results:
        if one.key in {asset.key for asset in build_assets(home.project)} and result.get_num_requested(one.key):
            batches = result.get_requested_partitions(one.key) - {None}
            found |= {f"{one.key.to_user_string()}[{batch}]" for batch in batches} or {one.key.to_user_string()}
    return found, result.cursor


def test_new_footage_starts_nothing_in_the_batches_that_were_there(home, put):
    made = home(batching={"max_files": 1})
    put(made, "still.png", caption="a still")
    made.run()
    found, cursor = requested(made, None)
    assert found == set()
    put(made, "still_two.png")
    made.scan()
    made.materialize(batch_run(made.project.config), "b00002")
    found, cursor = requested(made, cursor)
    assert not [name for name in found if "b00001" in name]


def test_new_code_that_reads_the_files_is_followed(home, put, monkeypatch):
    made = home()
    put(made, "still.png")
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    _, cursor = requested(made, None)
    bump(monkeypatch, "raw_videos", "another")
    found, cursor = requested(made, cursor)
    assert found == {"raw_videos[b00001]"}
    made.materialize(["raw_videos"], "b00001")
    found, cursor = requested(made, cursor)
    assert found == set()


def test_a_changed_limit_is_followed_from_the_verdicts_on(home, put):
    made = home()
    put(made, "still.png")
    made.run()
    _, cursor = requested(made, None)
    made.change(policy={"short_side_min": 1000})
    found, cursor = requested(made, cursor)
    assert found == {"curated_clips[b00001]"}
    made.materialize(["curated_clips"], "b00001")
    found, cursor = requested(made, cursor)
    assert found == {"duplicates", "latents[b00001]"}
    made.materialize(["duplicates"])
    made.materialize(["latents"], "b00001")
    found, cursor = requested(made, cursor)
    assert found == set()


@pytest.mark.parametrize("automatic", [False, True])
def test_training_follows_changes_only_where_the_configuration_says_so(home, automatic):
    assets = build_assets(home(train={"automatic": automatic}).project)
    training = {
        name: asset.automation_conditions_by_key.get(key)
        for asset in assets
        for key in asset.keys
        if (name := key.to_user_string()).split("/")[0] in ("training_set", "checkpoint", "evaluation")
    }
    assert len(training) == 6
    assert {condition is not None for condition in training.values()} == {automatic}


def test_everything_up_to_the_latents_follows_changes_but_the_listing_of_the_sources(home):
    assets = build_assets(home().project)
    without = {
        key.to_user_string() for asset in assets for key in asset.keys if key not in asset.automation_conditions_by_key
    }
    assert {name for name in without if "/" not in name} == {"source_files"}


def test_sensors_and_schedule_are_stopped_unless_the_configuration_starts_them(home):
    def running(**config) -> dict[str, bool]:
        defs = build_definitions(home(**config).project)
        started = {sensor.name: sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in defs.sensors}
        return started | {
            schedule.name: schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in defs.schedules
        }

    assert running() == {"new_footage": False, "follow_changes": False, "nightly": False}
    assert running(ingest={"watch": True}) == {"new_footage": True, "follow_changes": True, "nightly": False}
    assert running(schedule={"enabled": True}) == {"new_footage": False, "follow_changes": False, "nightly": True}


def test_the_schedule_and_the_sensor_run_when_the_configuration_says(home):
    made = home(schedule={"cron": "30 4 * * 1", "timezone": "Europe/Paris"}, ingest={"sensor_interval_s": 7})
    defs = build_definitions(made.project)
    (schedule,) = defs.schedules
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * 1", "Europe/Paris")
    (footage,) = [sensor for sensor in defs.sensors if sensor.name == "new_footage"]
    assert footage.minimum_interval_seconds == 7


def test_a_failed_run_of_the_policy_is_retried_a_bounded_number_of_times():
    assert automation_sensor(running=False).run_tags == {"dagster/max_retries": "2"}
