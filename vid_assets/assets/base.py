"""What all assets share: the run config, the cached execution of a stage, and the metadata that it shows.

Every asset goes through `execute`, so all of them skip, recompute, count and report in the same way.
"""

from __future__ import annotations

import builtins
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from vid_assets.config import Config
from vid_assets.errors import mendable_errors
from vid_assets.orphans import note_process
from vid_assets.project import Project
from vid_assets.stages import Stage, all_stages
from vid_assets.store.state import digest


class StageConfig(dg.Config):
    """Run config of every asset."""

    force: bool = False


class SourcesConfig(StageConfig):
    """Run config of `source_files`: `confirm` accepts a listing that lost more than half of the known files."""

    confirm: bool = False


class TrainingSetConfig(StageConfig):
    """Run config of a training set: `allow_stale` takes data that is not up to date, and says so."""

    allow_stale: bool = False


@dataclass
class Imports:
    """Seconds that lazy imports took inside a block, so that they can be told from work."""

    seconds: float = 0.0
    _depth: threading.local = field(default_factory=threading.local)


@contextlib.contextmanager
def timed_imports() -> Iterator[Imports]:
    """Measure the outermost import statements that run in the block."""
    found, original = Imports(), builtins.__import__

    def timed(*args: Any, **kwargs: Any) -> Any:
        depth = getattr(found._depth, "value", 0)
        found._depth.value = depth + 1
        started = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            found._depth.value = depth
            if depth == 0:
                found.seconds += time.perf_counter() - started

    builtins.__import__ = timed  # type: ignore[assignment]
    try:
        yield found
    finally:
        builtins.__import__ = original


def dagster_code_version(stage: Stage, config: Config) -> str:
    """The stage's code version and a hash of the config that enters it, so that the web UI sees both change.

    The recipe of one experiment does not enter: it is one partition's, and Dagster keeps one code version for all.
    """
    if stage.partitions == "experiment":
        everything = stage.config(config, next(iter(config.experiments)))
        relevant = {key: value for key, value in everything.items() if not key.startswith("experiments.")}
    else:
        relevant = stage.config(config, None)
    return f"{stage.code_version}+{digest(relevant)[:8]}" if relevant else stage.code_version


def key_of(name: str) -> dg.AssetKey:
    """The asset key of a stage, e.g. `checkpoint/short`."""
    return dg.AssetKey(name.split("/"))


def execute(
    context: dg.AssetExecutionContext,
    project: Project,
    name: str,
    compute: Callable[[Project, str | None, Callable[[str], None]], Any],
    *,
    force: bool = False,
    views: Callable[[Project, str | None, Mapping[str, Any], bool], Mapping[str, Any]] | None = None,
    checks: Callable[[Project, str | None, Mapping[str, Any]], Sequence[dg.AssetCheckResult]] | None = None,
    table: str | None = None,
    excluded_seconds: Callable[[], float] = lambda: 0.0,
    extra_inputs: Callable[[], dict[str, str]] = dict,
) -> dg.MaterializeResult:
    """Run a stage through the cache and turn its outcome into a `MaterializeResult`.

    `compute` gets the project, the partition and a function that reports progress. `views` gives pictures and tables,
    and is told whether they must be drawn again; `checks` judges the facts; `excluded_seconds` tells time that was
    spent waiting, not working; `extra_inputs` enter the fingerprint. Errors that a user can mend fail the run with
    their message alone.
    """
    note_process(context.instance, context.run)
    partition = context.partition_key if context.has_partition_key else None
    stages = all_stages(project.config)
    stage = stages[name]
    if stage.partitions is None:
        partition = None

    def judge(facts: Mapping[str, Any]) -> list[dg.AssetCheckResult]:
        return list(checks(project, partition, facts)) if checks else []

    with timed_imports() as imports:
        from vid_assets.store.cache import run_cached
        from vid_assets.store.upkeep import tidy_all

        started = time.monotonic()
        try:
            outcome = run_cached(
                project.states,
                name,
                partition,
                lambda: stage.fingerprint(project, partition, stages).with_inputs(extra_inputs()),
                lambda: compute(project, partition, context.log.info),
                lambda state: stage.verify(project, partition, state),
                force,
                lambda output: [str(one.check_name) for one in judge(output.facts) if _stops(one)],
            )
            output = outcome.output
            shown = dict(views(project, partition, output.facts, not outcome.hit)) if views else {}
            results = judge(output.facts)
            if not outcome.hit:
                for done in tidy_all(project.store):
                    context.log.info(f"tidied {done}")
        except mendable_errors() as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        seconds = time.monotonic() - started
        version = project.store.version(table) if table else None
    label = "hit" if outcome.hit else "miss"
    context.log.info(f"{name}: cache {label}, {output.computed} rows computed, {output.cached} from cache")
    metadata = {
        "cache": label,
        "rows": output.rows,
        "hits": output.cached,
        "misses": output.computed,
        "seconds": round(seconds, 3),
        "import_seconds": round(min(imports.seconds + excluded_seconds(), seconds), 3),
        "computed because": "; ".join(outcome.reasons) or "up to date",
        "dagster/row_count": output.rows,
        **{label: _metadata(value) for label, value in output.facts.items() if label != "rows"},
        **shown,
    }
    if "bytes" not in metadata:
        metadata["bytes"] = project.store.bytes_on_disk(table) if table else 0
    if version is not None:
        metadata["lance version"] = version
    return dg.MaterializeResult(
        data_version=dg.DataVersion(output.data_version), metadata=metadata, check_results=results
    )


def _stops(check: dg.AssetCheckResult) -> bool:
    """Whether nothing may be built on an output with this result; a warning stops nothing."""
    return not check.passed and check.severity == dg.AssetCheckSeverity.ERROR


def _metadata(value: Any) -> Any:
    """A value as Dagster metadata shows it best."""
    if isinstance(value, dict):
        return dg.MetadataValue.json(dict(value))
    if isinstance(value, list | tuple):
        return dg.MetadataValue.json(list(value))
    return value
