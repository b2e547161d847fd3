"""Runs whose process died are marked as failed; those of living processes and of other hosts are left alone."""

from __future__ import annotations

import socket
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from vid_assets.orchestration.orphans import TAG, fail_dead_runs, note_process, this_process

STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def started(instance: dg.DagsterInstance, process: str | None) -> str:
    return create_run_for_test(instance, status=STARTED, tags={TAG: process} if process else {}).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_is_gone_fails(instance):
    code = "from vid_assets.orchestration.orphans import this_process; print(this_process())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    run_id = started(instance, ended)
    assert fail_dead_runs(instance) == [run_id]
    assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert fail_dead_runs(instance) == []


def test_a_later_process_with_the_same_pid_is_not_taken_for_it(instance):
    host, pid, began = this_process().split("/")
    run_id = started(instance, f"{host}/{pid}/{int(began) - 1}")
    assert fail_dead_runs(instance) == [run_id]


@pytest.mark.parametrize(
    "process",
    [this_process(), "elsewhere/1/1", f"{socket.gethostname()}//", None],
    ids=["this process", "another host", "no pid", "no tag"],  # the same in every test process
)
def test_living_runs_and_those_that_cannot_be_judged_are_left_alone(instance, process):
    run_id = started(instance, process)
    assert fail_dead_runs(instance) == []
    assert status(instance, run_id) == STARTED


def test_a_run_notes_its_process_once(instance):
    run_id = started(instance, None)
    run = instance.get_run_by_id(run_id)
    note_process(instance, run)
    assert instance.get_run_by_id(run_id).tags[TAG] == this_process()
