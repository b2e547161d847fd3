"""When assets run by themselves: the one automation policy, the footage sensor's and the nightly schedule's rules.

Three things start work without a hand, each with one job. The footage sensor brings new and changed footage from a
folder to latents. The policy `follow_changes` carries a changed data version or code version downstream. The nightly
schedule scans, runs whatever is stale and freezes the training sets. Training is started by none of them, unless the
configuration says `train.automatic: true`.
"""

from __future__ import annotations

import dagster as dg


def follow_changes(ignore: tuple[str, ...] = ()) -> dg.AutomationCondition:
    """The one policy: run when an input's content or this asset's code changed.

    A change is latched until a run was requested for it: one that comes while the asset or an input is running waits
    for that to end, instead of being lost. A failed run is retried by Dagster's run retries (see `automation_sensor`),
    a bounded number of times; after that the asset stays stale, for the nightly schedule and for the next change. An
    unchanged data version starts nothing, nor does an input that the asset's own run made. Inputs in `ignore` are
    global tables of which a slice concerns a partition; the footage sensor and the nightly schedule know the slices.
    """
    made_elsewhere = ~dg.AutomationCondition.executed_with_root_target()
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed() & made_elsewhere)
    deps_running = dg.AutomationCondition.any_deps_in_progress()
    deps_missing = dg.AutomationCondition.any_deps_missing()
    if ignore:
        skipped = dg.AssetSelection.assets(*ignore)
        changed, deps_running = changed.ignore(skipped), deps_running.ignore(skipped)
        deps_missing = deps_missing.ignore(skipped)
    news = changed | dg.AutomationCondition.code_version_changed()
    pending = news.since(dg.AutomationCondition.newly_requested())
    quiet = ~dg.AutomationCondition.in_progress() & ~deps_running & ~deps_missing
    return (pending & quiet).with_label("follow changes")


def automation_sensor(running: bool) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the policy; a run that fails is retried at most twice."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        run_tags={"dagster/max_retries": "2"},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Carries changed content and changed code downstream, asset by asset.",
        minimum_interval_seconds=30,
    )
