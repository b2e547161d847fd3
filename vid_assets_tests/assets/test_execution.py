"""How an asset is executed: what happens while its partition is locked, and what no warning and no picture can undo."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from vid_assets import assets
from vid_assets.assets.asset import Check, Finding, Work
from vid_assets.project import Project
from vid_assets.store.cache import Output
from vid_assets.store.state import BusyError
from vid_assets.store.tables import UndeclaredTableError
from vid_assets_tests.harness import Home


@pytest.fixture
def made(tmp_path) -> Home:
    return Home(tmp_path / "home", tmp_path / "no models", text_encoder=None)


def with_more(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """`source_files` with another declaration: what it is in this test, an asset that works without any model."""
    changed = [dataclasses.replace(one, **more) if one.name == "source_files" else one for one in assets.ASSETS]
    monkeypatch.setattr(assets, "ASSETS", tuple(changed))


def warns(judge: Callable[[Work, Output], Finding]) -> Check:
    return Check("looks_well", "Warns where it does not.", judge, blocking=False)


@pytest.mark.parametrize("again", [False, True], ids=["made now", "up to date"])
def test_checks_and_views_have_the_home_for_themselves(made, monkeypatch, again):
    """A removal in their midst would pull away what they look at."""
    asked: list[str] = []

    def removal(project: Project, who: str) -> None:
        with pytest.raises(BusyError, match="source_files is at work"), project.states.alone():
            pass
        asked.append(who)

    def check(work: Work, output: Output) -> Finding:
        removal(made.project, "check")
        return Finding(True, "well")

    def views(project: Project, partition: str | None, facts: Any) -> dict[str, str]:
        removal(project, "views")
        return {"picture": "nothing to see"}

    if again:
        made.scan()
    with_more(monkeypatch, checks=(warns(check),), views=views)
    made.scan()
    assert asked == ["check", "views"]
    assert made.metadata["source_files"]["cache"] == ("hit" if again else "miss")
    assert made.metadata["source_files"]["picture"] == "nothing to see"


def test_a_picture_that_cannot_be_drawn_fails_nothing_and_is_drawn_by_the_next_run(made, monkeypatch):
    def broken(project: Project, partition: str | None, facts: Any) -> dict[str, str]:
        raise ValueError("no ink")

    with_more(monkeypatch, views=broken)
    made.scan()
    assert made.metadata["source_files"]["views"] == "not drawn, which the next run does again: no ink"
    assert made.project.states.read("source_files", None) is not None
    with_more(monkeypatch, views=lambda project, partition, facts: {"picture": "drawn"})
    made.scan()
    found = made.metadata["source_files"]
    assert (found["cache"], found["picture"]) == ("hit", "drawn") and "views" not in found


def test_a_warning_check_that_fails_itself_warns_of_that(made, monkeypatch):
    def broken(work: Work, output: Output) -> Finding:
        raise ValueError("cannot look")

    with_more(monkeypatch, checks=(warns(broken),))
    made.scan()
    (found,) = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in made.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    ]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "could not be made: cannot look"


def test_what_a_check_did_not_declare_is_no_warning(made, monkeypatch):
    with_more(monkeypatch, checks=(warns(lambda work, output: Finding(bool(work.store.read("latents")), "")),))
    with pytest.raises(UndeclaredTableError, match="source_files reads the table latents"):
        made.scan()
