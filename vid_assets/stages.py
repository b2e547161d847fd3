"""What each asset is made from: its code version, the config and the inputs that enter its fingerprint.

One `Stage` for each asset, used in the same way by the assets when they run and by `vid-assets status` when it says
what is stale. Input versions are read from the states beside the data, never from Dagster's event log. Of a global
table, only the slice that concerns a partition enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from vid_assets import code_versions as code
from vid_assets import stage_inputs
from vid_assets.config import Config
from vid_assets.project import Project
from vid_assets.store.state import Fingerprint, StageState, digest

Partitioning = Literal["batch", "experiment"] | None


class UpstreamMissingError(RuntimeError):
    """An input of this asset has not been finished; the message names it and the command that makes it."""


@dataclass(frozen=True)
class Stage:
    """One asset as the caching sees it.

    `upstream` names the stages whose data versions enter; `config` gives the part of the configuration that enters;
    `slices` gives further inputs, each a hash; `verify` gives the present digest of the output, None where it is gone.
    """

    name: str
    code_version: str
    partitions: Partitioning
    verify: Callable[[Project, str | None, StageState], str | None]
    upstream: tuple[str, ...] = ()
    config: Callable[[Config, str | None], dict[str, Any]] = field(default=lambda config, partition: {})
    slices: Callable[[Project, str | None], dict[str, str]] = field(default=lambda project, partition: {})
    tolerant: bool = False  # works with what is there where a batch is not finished

    def fingerprint(self, project: Project, partition: str | None, stages: dict[str, Stage]) -> Fingerprint:
        """What this stage would be made from now. Raises `UpstreamMissingError`."""
        inputs = {}
        for name in self.upstream:
            inputs[name] = self._input(project, stages[name], partition)
        return Fingerprint(
            self.code_version, self.config(project.config, partition), inputs | self.slices(project, partition)
        )

    def _input(self, project: Project, upstream: Stage, partition: str | None) -> str:
        if upstream.partitions == "batch" and self.partitions != "batch":
            versions = {}
            for batch in stage_inputs.batches(project):
                state = project.states.read(upstream.name, batch)
                sound = state is not None and not state.failed_checks
                if not sound and not self.tolerant:
                    raise _missing(upstream.name, batch, state)
                versions[batch] = state.data_version if state is not None and sound else "unfinished"
            return digest(versions)
        key = partition if upstream.partitions else None
        state = project.states.read(upstream.name, key)
        if state is None or state.failed_checks:
            raise _missing(upstream.name, key, state)
        return state.data_version


def _missing(name: str, partition: str | None, state: StageState | None) -> UpstreamMissingError:
    where = f" --partition {partition}" if partition else ""
    one = f"{name} [{partition}]" if partition else name
    if state is not None:
        return UpstreamMissingError(
            f"{one} failed its check {', '.join(state.failed_checks)}: nothing is built on it. The check's description "
            f"in the web UI says what was found; mend that and materialize {name} again."
        )
    return UpstreamMissingError(
        f"{one} is not finished. Run `dagster asset materialize -m vid_assets.definitions --select {name}{where}` "
        f"first, or `vid-assets run` for everything that is stale."
    )


def partitions_of(project: Project, stage: Stage) -> list[str | None]:
    """The partitions of a stage; `[None]` for an unpartitioned one."""
    if stage.partitions == "batch":
        return list(stage_inputs.batches(project))
    if stage.partitions == "experiment":
        return list(project.config.experiments)
    return [None]


def all_stages(config: Config) -> dict[str, Stage]:
    """Every stage by name, in an order in which inputs come first."""
    stages = [
        Stage("source_files", code.SOURCES, None, stage_inputs.by_step("sources")),
        Stage(
            "raw_videos",
            code.VIDEOS,
            "batch",
            stage_inputs.table("videos"),
            config=stage_inputs.decoding_limits,
            slices=stage_inputs.batch_files,
        ),
        Stage(
            "frame_stats",
            code.FRAME_STATS,
            "batch",
            stage_inputs.table("frame_stats"),
            ("raw_videos",),
            config=stage_inputs.measuring,
            slices=stage_inputs.present,
        ),
        Stage(
            "clips",
            code.SHOTS,
            "batch",
            stage_inputs.table("clips"),
            ("raw_videos", "frame_stats"),
            config=lambda config, _: {"shots": config.shots.model_dump()},
            slices=stage_inputs.present,
        ),
        Stage(
            "clip_scores",
            code.SCORES,
            "batch",
            stage_inputs.table("clip_scores"),
            ("raw_videos", "frame_stats", "clips"),
            slices=stage_inputs.present,
        ),
        Stage(
            "curated_clips",
            code.POLICY,
            "batch",
            stage_inputs.table("verdicts"),
            ("clips", "clip_scores"),
            config=lambda config, _: {"policy": config.policy.model_dump()},
        ),
        Stage(
            "captions", code.CAPTIONS, "batch", stage_inputs.table("captions"), ("clips",), slices=stage_inputs.sidecars
        ),
        Stage(
            "text_embeddings",
            code.TEXT,
            "batch",
            stage_inputs.by_step("text"),
            ("captions",),
            config=stage_inputs.text_config,
            slices=stage_inputs.text_weights,
        ),
        Stage(
            "duplicates",
            code.DUPLICATES,
            None,
            stage_inputs.table("duplicates"),
            ("raw_videos", "clip_scores", "curated_clips"),
            config=lambda config, _: {"duplicates": config.duplicates.model_dump()},
            slices=stage_inputs.present,
            tolerant=True,
        ),
        Stage("vae", code.VAE, None, stage_inputs.by_step("vae"), slices=stage_inputs.vae_weights),
        Stage(
            "latents",
            code.LATENTS,
            "batch",
            stage_inputs.by_step("latents"),
            ("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "vae"),
            config=stage_inputs.latent_config,
            slices=stage_inputs.latent_inputs,
        ),
    ]
    if config.image_encoder:
        stages.append(
            Stage(
                "image_embeddings",
                code.IMAGE,
                "batch",
                stage_inputs.by_step("first_frames"),
                ("latents",),
                config=stage_inputs.image_config,
                slices=stage_inputs.image_weights,
            )
        )
    embeddings = ("text_embeddings", "image_embeddings") if config.image_encoder else ("text_embeddings",)
    previous: str | None = None
    for stage in config.stages:
        training_set, *training = _training_stages(stage.name, previous, embeddings)
        stages += [training_set, *(training if config.experiments else [])]
        previous = stage.name
    return {stage.name: stage for stage in stages}


def _training_stages(name: str, previous: str | None, embeddings: tuple[str, ...]) -> list[Stage]:
    def members(config: Config, partition: str | None) -> dict[str, Any]:
        return {"buckets": list(config.stage(name).buckets), "heldout": config.heldout.model_dump()}

    def recipe(config: Config, partition: str | None) -> dict[str, Any]:
        stage, settings = config.stage(name), config.experiments[str(partition)].settings
        start = {"start_from": stage.start_from} if previous else {}
        return {f"stages.{name}": stage.settings | start, f"experiments.{partition}": settings}

    def evaluation(config: Config, partition: str | None) -> dict[str, Any]:
        settings = config.experiments[str(partition)].settings
        model = {key: settings[key] for key in ("model", "objective", "image_conditioning", "precision")}
        return {"evaluation": config.evaluation.model_dump(), f"experiments.{partition}": model}

    def pretrained(project: Project, partition: str | None) -> dict[str, str]:
        from vid_assets.steps.manifests import pretrained

        found = pretrained(project, project.config.experiments[str(partition)]) if previous is None else None
        return {"pretrained weights": found["weights_hash"]} if found else {}

    training_set, checkpoint = f"training_set/{name}", f"checkpoint/{name}"
    parent = (f"checkpoint/{previous}",) if previous else ()
    return [
        Stage(
            training_set,
            code.TRAINING_SET,
            None,
            stage_inputs.by_step("training_sets"),
            ("latents", *embeddings),
            config=members,
            slices=stage_inputs.present,
            tolerant=True,
        ),
        Stage(
            checkpoint,
            code.TRAIN,
            "experiment",
            stage_inputs.by_step("checkpoints"),
            (training_set, "vae", *parent),
            config=recipe,
            slices=pretrained,
        ),
        Stage(
            f"evaluation/{name}",
            code.EVALUATE,
            "experiment",
            stage_inputs.by_step("evaluations"),
            (training_set, "vae", checkpoint),
            config=evaluation,
        ),
    ]
