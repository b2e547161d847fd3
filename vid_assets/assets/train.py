"""The curriculum: for each stage a training set, a checkpoint and an evaluation, chained by one factory."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from vid_assets.assets.base import StageConfig, TrainingSetConfig, dagster_code_version, execute, key_of
from vid_assets.automation import follow_changes
from vid_assets.checks import loss_checks
from vid_assets.partitions import experiments
from vid_assets.project import Project
from vid_assets.stages import all_stages

#: Exit code of `model.train` when it was asked to stop and has saved its state.
_STOPPED = 75


def build(project: Project) -> list[dg.AssetsDefinition]:
    """The chain of assets that the configuration's stages make."""
    assets: list[dg.AssetsDefinition] = []
    previous: str | None = None
    for stage in project.config.stages:
        assets += _stage_assets(project, stage.name, previous)
        previous = stage.name
    return assets


def _stage_assets(project: Project, name: str, previous: str | None) -> list[dg.AssetsDefinition]:
    stages, config = all_stages(project.config), project.config
    section = config.stage(name)
    by_experiment = experiments(config)
    automatic = follow_changes() if config.train.automatic else None
    training_set_name, checkpoint_name, evaluation_name = (
        f"training_set/{name}",
        f"checkpoint/{name}",
        f"evaluation/{name}",
    )
    every_batch = dg.AllPartitionMapping()

    @dg.asset(
        key=key_of(training_set_name),
        deps=[
            key_of("source_files"),
            dg.AssetDep(key_of("latents"), partition_mapping=every_batch),
            *(
                dg.AssetDep(key_of(one), partition_mapping=every_batch)
                for one in ("text_embeddings", "image_embeddings")
                if one in stages
            ),
        ],
        group_name="train",
        kinds={"lancedb"},
        code_version=dagster_code_version(stages[training_set_name], config),
        automation_condition=follow_changes(ignore=("source_files",)) if config.train.automatic else None,
        description=f"The training set of stage {name} ({', '.join(section.buckets)}), with its digest and pinned "
        "versions of the tables. Fails when anything that it is made from is stale.",
    )
    def training_set(
        context: dg.AssetExecutionContext, config: TrainingSetConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import training_sets

        return execute(
            context,
            project,
            training_set_name,
            lambda project, _, progress: training_sets.training_set(
                project, name, config.force, progress, config.allow_stale
            ),
            force=config.force,
            table="training_sets",
        )

    if not config.experiments:
        return [training_set]

    @dg.asset(
        key=key_of(checkpoint_name),
        partitions_def=by_experiment,
        deps=[training_set, key_of("vae"), *([key_of(f"checkpoint/{previous}")] if previous else [])],
        group_name="train",
        kinds={"pytorch"},
        code_version=dagster_code_version(stages[checkpoint_name], config),
        automation_condition=automatic,
        check_specs=[
            dg.AssetCheckSpec(
                "loss_finite", asset=key_of(checkpoint_name), blocking=True, description="No NaN, no infinity."
            ),
            dg.AssetCheckSpec(
                "heldout_falls",
                asset=key_of(checkpoint_name),
                description="Warns where the loss on held-out samples is not lower than that of the weights before.",
            ),
        ],
        description=f"One training run of {section.steps} steps"
        + (f", from the {section.start_from} weights of stage {previous}." if previous else ", from fresh weights.")
        + " Runs in a child process that saves its state and stops when this run is cancelled or killed.",
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        config: StageConfig,
        project: dg.ResourceParam[Project],
        pipes: dg.PipesSubprocessClient,
    ) -> dg.MaterializeResult:
        from vid_assets.steps import checkpoints

        child = _Child(context, pipes)
        return execute(
            context,
            project,
            checkpoint_name,
            lambda project, partition, progress: checkpoints.checkpoint(
                project,
                name,
                str(partition),
                child.run,
                config.force,
                progress,
                context.run_id,
                report="vid_assets.training_report:reporter",
                parent_pid=os.getpid(),
            ),
            force=config.force,
            views=_views("checkpoint_views", name),
            checks=loss_checks,
            table="latents",
            excluded_seconds=lambda: child.startup_seconds,
        )

    @dg.asset(
        key=key_of(evaluation_name),
        partitions_def=by_experiment,
        deps=[training_set, key_of("vae"), checkpoint],
        group_name="train",
        kinds={"pytorch"},
        code_version=dagster_code_version(stages[evaluation_name], config),
        automation_condition=automatic,
        description="Loss on held-out samples, and generated videos beside the data, decoded by the same VAE.",
    )
    def evaluation(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import evaluations

        return execute(
            context,
            project,
            evaluation_name,
            lambda project, partition, progress: evaluations.evaluation(
                project, name, str(partition), config.force, progress
            ),
            force=config.force,
            views=_views("evaluation_views", name),
        )

    return [training_set, checkpoint, evaluation]


class _Child:
    """The training process, started with Dagster Pipes; measures how long it took to begin."""

    def __init__(self, context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> None:
        self._context, self._pipes = context, pipes
        self.startup_seconds = 0.0

    def run(self, command: list[str]) -> None:
        """Run the command to its end. A stop that was asked for, and a failure, are each a clear `Failure`."""
        began = time.time()
        try:
            done = self._pipes.run(context=self._context, command=command)
        except DagsterPipesExecutionError as error:
            if str(error).endswith(f" {_STOPPED}"):
                reason = "The training process was asked to stop. It saved its state; materialize again to go on."
            else:
                reason = f"The training process failed: {error}. The last lines of the run's stderr say why."
            raise dg.Failure(description=reason, allow_retries=False) from error
        for message in done.get_custom_messages():
            if message.get("event") == "started":
                self.startup_seconds = max(0.0, message["at"] - began)


def _views(draw: str, stage: str) -> Callable[[Project, str | None, Mapping[str, Any], bool], dict[str, Any]]:
    """The pictures and tables of a stage, drawn again even on a hit: what they compare with may have changed."""

    def views(
        project: Project, partition: str | None, facts: Mapping[str, Any], redraw: bool
    ) -> dict[str, dg.MetadataValue]:
        from vid_assets.steps import training_views

        shown = getattr(training_views, draw)(project, stage, str(partition), facts)
        files = Path(project.local, facts["folder"])
        paths = {"files": files, "tensorboard": files.parent / "tensorboard"}
        return {title: dg.MetadataValue.md(text) for title, text in shown.items()} | {
            name: dg.MetadataValue.path(str(path)) for name, path in paths.items() if path.is_dir()
        }

    return views
