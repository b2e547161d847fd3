"""How an asset is executed: through the cache, then checked, then shown.

Every asset goes through `execute`, so all of them skip, recompute, count and report in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from model.errors import UserError, first_line
from vid_assets.assets import work_of
from vid_assets.assets.asset import Check, Finding, Unsettled, Work, told
from vid_assets.assets.queries import batches
from vid_assets.orchestration import child
from vid_assets.orchestration.orphans import note_process
from vid_assets.orchestration.partitions import register_batches
from vid_assets.project import Project
from vid_assets.reports.staleness import stale_data
from vid_assets.store.cache import Outcome, Output, run_cached
from vid_assets.store.tables import UndeclaredTableError
from vid_assets.store.upkeep import tidy_all


def execute(
    context: dg.AssetExecutionContext,
    project: Project,
    pipes: dg.PipesSubprocessClient,
    name: str,
    options: Mapping[str, bool],
) -> dg.MaterializeResult:
    """Run an asset through the cache and turn its outcome into a `MaterializeResult`.

    Errors that a user can mend fail the run with their message alone.
    """
    note_process(context.instance, context.run)
    work = work_of(
        project,
        name,
        context.partition_key if context.has_partition_key else None,
        options=options,
        progress=context.log.info,
        stale=partial(_stale, project),
        train=partial(child.train, context, pipes),
        run_id=context.run_id,
    )
    started = time.monotonic()
    try:
        outcome, found, shown = _cached(context, project, work)
        if not outcome.hit:
            for done in tidy_all(project.store):
                context.log.info(f"tidied {done}")
        if work.asset.forms_batches and (fresh := register_batches(context.instance, batches(project.store))):
            context.log.info(f"new ingest batches: {', '.join(fresh)}")
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    output, label = outcome.output, "hit" if outcome.hit else "miss"
    context.log.info(f"{name}: cache {label}, {output.computed} rows computed, {output.cached} from cache")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(output.data_version),
        metadata=_metadata(project, work, outcome, time.monotonic() - started) | shown,
        check_results=[check_result(check, found[check.name]) for check in work.asset.checks],
    )


def _cached(
    context: dg.AssetExecutionContext, project: Project, work: Work
) -> tuple[Outcome, dict[str, Finding], dict[str, Any]]:
    """The outcome, what its checks found, and its views; all of it while nobody else may change or remove the output.

    Blocking checks are asked before a new output is sealed, as its state names those that did not pass; those that
    warn and the views come after it, so that nothing is lost by them.
    """
    found: dict[str, Finding] = {}
    shown: dict[str, Any] = {}

    def judge(output: Output) -> list[str]:
        for check in work.asset.checks:
            if check.blocking:
                found[check.name] = one = check.judge(work, output)
                if not one.passed:
                    asked = told(check.doc, project.config)
                    context.log.error(f"the check {check.name} is not passed: {one.words}. What it asks for: {asked}")
        return [f"{name}: {one.words}" for name, one in found.items() if not one.passed]

    def settled(outcome: Outcome) -> None:
        if outcome.hit:
            judge(outcome.output)
        warnings = [check for check in work.asset.checks if not check.blocking]
        found.update({check.name: _warned(context, work, check, outcome.output) for check in warnings})
        shown.update(_shown(context, project, work, outcome.output))

    outcome = run_cached(
        project.states,
        work.asset.name,
        work.partition,
        work.fingerprint,
        lambda: work.asset.run(work),
        lambda state: work.asset.verify(work, state),
        work.force,
        judge,
        work.asset.adopted,
        settled,
    )
    return outcome, found, shown


def _stale(project: Project) -> Unsettled:
    return {one.name: one.reasons for one in stale_data(project)}


def _warned(context: dg.AssetExecutionContext, work: Work, check: Check, output: Output) -> Finding:
    """What a check found that can only warn; one that fails itself warns of that, as the output is sealed already."""
    try:
        return check.judge(work, output)
    except UndeclaredTableError:  # a fault of the declaration, which no warning may hide
        raise
    except Exception as error:
        context.log.warning(f"the check {check.name} failed itself: {first_line(error)}", exc_info=True)
        return Finding(False, f"could not be made: {first_line(error)}")


def _shown(context: dg.AssetExecutionContext, project: Project, work: Work, output: Output) -> dict[str, Any]:
    """The pictures and tables of an output. It is sealed by now, and no picture fails it: the next look draws again."""
    try:
        views = work.asset.views(project, work.partition, output.facts)
    except Exception as error:
        context.log.warning(f"its views could not be drawn: {first_line(error)}", exc_info=True)
        return {"views": f"not drawn, which the next run does again: {first_line(error)}"}
    return {
        title: dg.MetadataValue.path(str(view)) if isinstance(view, Path) else dg.MetadataValue.md(view)
        for title, view in views.items()
    }


def _metadata(project: Project, work: Work, outcome: Outcome, seconds: float) -> dict[str, Any]:
    output, table = outcome.output, work.asset.table
    metadata = {
        "cache": "hit" if outcome.hit else "miss",
        "rows": output.rows,
        "hits": output.cached,
        "misses": output.computed,
        "seconds": round(seconds, 3),
        "computed because": "; ".join(outcome.reasons) or "up to date",
        "dagster/row_count": output.rows,
        **{label: _as_metadata(value) for label, value in output.facts.items() if label != "rows"},
    }
    if "bytes" not in metadata:
        metadata["bytes"] = project.store.bytes_on_disk(table) if table else 0
    version = project.store.version(table) if table else None
    return metadata | ({"lance version": version} if version is not None else {})


def _as_metadata(value: Any) -> Any:
    """A value as Dagster metadata shows it best."""
    if isinstance(value, dict):
        return dg.MetadataValue.json(dict(value))
    if isinstance(value, list | tuple):
        return dg.MetadataValue.json(list(value))
    return value


def check_result(check: Check, found: Finding) -> dg.AssetCheckResult:
    """What a check found, as Dagster shows it."""
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description=found.words,
        metadata=dict(found.metadata),
    )
