"""The Dagster assets: one factory, which makes each of them from its declaration."""

from functools import cache

import dagster as dg
from pydantic import Field, create_model

from vid_assets.assets import assets_of
from vid_assets.assets.asset import Asset, Assets, told
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.orchestration.automation import follow_changes
from vid_assets.orchestration.execution import execute
from vid_assets.orchestration.partitions import experiments, ingest_batch
from vid_assets.project import Project


def build_assets(project: Project) -> list[dg.AssetsDefinition]:
    """All assets of a project, inputs first."""
    assets = assets_of(project.config)
    return [dagster_asset(asset, assets, project.config) for asset in assets.values()]


def dagster_asset(asset: Asset, assets: Assets, config: Config) -> dg.AssetsDefinition:
    """The Dagster asset of a declaration."""
    run_config = _run_config(tuple(asset.options.items()))

    @dg.asset(
        key=key_of(asset.name),
        deps=[_dependency(asset, assets[name]) for name in (*asset.slices_of, *asset.upstream)],
        partitions_def=_partitions(asset, config),
        group_name=asset.group,
        kinds=set(asset.kinds),
        code_version=dagster_code_version(asset, config),
        automation_condition=follow_changes(ignore=asset.slices_of) if asset.automatic(config) else None,
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=key_of(asset.name), blocking=check.blocking, description=told(check.doc, config)
            )
            for check in asset.checks
        ],
        description=asset.described(config),
    )
    def work(
        context: dg.AssetExecutionContext,
        config: run_config,  # type: ignore[valid-type]
        project: dg.ResourceParam[Project],
        pipes: dg.ResourceParam[dg.PipesSubprocessClient],
    ) -> dg.MaterializeResult:
        return execute(context, project, pipes, asset.name, config.model_dump())  # type: ignore[attr-defined]

    return work


def key_of(name: str) -> dg.AssetKey:
    """The asset key of an asset, e.g. `checkpoint/short`."""
    return dg.AssetKey(name.split("/"))


def dagster_code_version(asset: Asset, config: Config) -> str:
    """The asset's code version and a hash of the config that enters it, so that the web UI sees both change.

    The recipe of one experiment does not enter: it is one partition's, and Dagster keeps one code version for all.
    """
    if asset.partitions == "experiment":
        everything = asset.settings(config, next(iter(config.experiments)))
        relevant = {key: value for key, value in everything.items() if not key.startswith("experiments.")}
    else:
        relevant = asset.settings(config, None)
    return f"{asset.code_version}+{digest(relevant)[:8]}" if relevant else asset.code_version


def _dependency(asset: Asset, upstream: Asset) -> dg.AssetDep:
    gathers = upstream.partitions == "batch" and asset.partitions != "batch"
    return dg.AssetDep(key_of(upstream.name), partition_mapping=dg.AllPartitionMapping() if gathers else None)


def _partitions(asset: Asset, config: Config) -> dg.PartitionsDefinition | None:
    if asset.partitions == "batch":
        return ingest_batch
    return experiments(config) if asset.partitions == "experiment" else None


@cache
def _run_config(options: tuple[tuple[str, str], ...]) -> type[dg.Config]:
    """The run config: `force`, and an asset's own switches with what each does."""
    switches = {"force": "compute again although nothing changed", **dict(options)}
    fields = {name: (bool, Field(False, description=doc)) for name, doc in switches.items()}
    return create_model("RunConfig", __base__=dg.Config, **fields)  # type: ignore[call-overload]
