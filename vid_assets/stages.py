"""What each asset is made from: its code version, the config and the inputs that enter its fingerprint.

One `Stage` for each asset, used in the same way by the assets when they run and by `vid-assets status` when it says
what is stale. Input versions are read from the states beside the data, never from Dagster's event log. Of a global
table, only the slice that concerns a partition enters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from vid_assets import code_versions as code
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
            for batch in batches(project):
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


def batches(project: Project) -> list[str]:
    """The ingest batches that `source_files` has formed, in order."""
    return sorted({row["ingest_batch"] for row in project.store.read("sources", columns=["ingest_batch"])})


def partitions_of(project: Project, stage: Stage) -> list[str | None]:
    """The partitions of a stage; `[None]` for an unpartitioned one."""
    if stage.partitions == "batch":
        return list(batches(project))
    if stage.partitions == "experiment":
        return list(project.config.experiments)
    return [None]


# --- inputs that are slices of tables


def files_digest(rows: Iterable[dict[str, Any]]) -> str:
    """Hash of the files of a batch: uri, size, version, state."""
    return digest(sorted((row["uri"], row["size_bytes"], row["etag"], row["state"]) for row in rows))


def _batch_files(project: Project, batch: str | None) -> dict[str, str]:
    from vid_assets.store.tables import equals

    rows = project.store.read("sources", equals("ingest_batch", batch), ["uri", "size_bytes", "etag", "state"])
    rows = [row for row in rows if row["state"] != "replaced"]
    # A HEIC still that could not be read is stale once the extra is there; found, not imported, as that is heavy
    needs_extra = any(row["uri"].lower().endswith((".heic", ".heif", ".hif")) for row in rows)
    extra = {"extra heic": "installed"} if needs_extra and find_spec("pillow_heif") else {}
    return {"sources": files_digest(rows)} | extra


def presence(project: Project, batch: str | None = None) -> list[str]:
    """The videos (of one batch, or of all) that have a present source, in order."""
    by_batch = _presence_by_batch(project)
    return by_batch.get(batch, []) if batch else sorted(video for videos in by_batch.values() for video in videos)


def _presence_by_batch(project: Project) -> dict[str, list[str]]:
    from vid_assets.footage.membership import present_videos

    def group() -> dict[str, list[str]]:
        here = present_videos(project.store.read("sources", columns=_SOURCE_COLUMNS))
        found: dict[str, list[str]] = {}
        for row in project.store.read("videos", columns=["video_id", "ingest_batch"]):
            if row["video_id"] in here:
                found.setdefault(row["ingest_batch"], []).append(row["video_id"])
        return found

    return project.store.derived("presence", ("sources", "videos"), group)


_SOURCE_COLUMNS = ["uri", "size_bytes", "etag", "video_id", "hashed_version", "ingest_batch", "state"]


def _present(project: Project, batch: str | None) -> dict[str, str]:
    return {"present videos": digest(presence(project, batch))}


def _sidecars(project: Project, batch: str | None) -> dict[str, str]:
    from vid_assets.steps.captions import sidecars_of_batch

    return {"sidecars": digest(sidecars_of_batch(project, str(batch)))}


def lost_clips(project: Project, batch: str | None) -> list[str]:
    """The clips of a batch that lost to a better copy."""

    def group() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in project.store.read("duplicates", columns=["clip_id", "ingest_batch"]):
            found.setdefault(row["ingest_batch"], []).append(row["clip_id"])
        return found

    return project.store.derived("lost clips", ("duplicates",), group).get(str(batch), [])


def _latent_inputs(project: Project, batch: str | None) -> dict[str, str]:
    from vid_assets.footage.decode import decoder_version

    decoders = {"decoders": f"{decoder_version('decord')}, {decoder_version('pyav')}"}
    return {"duplicates": digest(lost_clips(project, batch))} | decoders | _present(project, batch)


def _text_weights(project: Project, batch: str | None) -> dict[str, str]:
    from vid_assets.steps.text import encoder_hashes

    return {f"{kind} encoder weights": found for kind, found in encoder_hashes(project).items()}


def _image_weights(project: Project, batch: str | None) -> dict[str, str]:
    from vid_assets.steps.vae import weights_of

    encoder = project.config.image_encoder
    return {"image encoder weights": weights_of(project, encoder).hash} if encoder else {}


def _vae_weights(project: Project, partition: str | None) -> dict[str, str]:
    from vid_assets.steps.vae import weights_of

    return {"vae weights": weights_of(project, project.config.vae).hash}


# --- what of the config enters


def _decoding_limits(config: Config, partition: str | None) -> dict[str, Any]:
    """Raised, what failed by them is tried again; what was read stands in any case."""
    return {"decoding": config.decoding.model_dump()}


def _measuring(config: Config, partition: str | None) -> dict[str, Any]:
    from vid_assets.curation.groups import GROUPS, wanted_groups

    extra = {name: version for name, version in wanted_groups(config.shots).items() if name not in GROUPS}
    return _decoding_limits(config, partition) | ({"optional groups": extra} if extra else {})


def _latent_config(config: Config, partition: str | None) -> dict[str, Any]:
    return {
        "buckets": [bucket.name for bucket in config.buckets],
        "encoding": config.encoding.model_dump(include={"posterior", "dtype", "first_frames"}),
        "windows": config.windows.model_dump(),
        "vae": config.vae.model_dump(include={"family", "dtype", "tiling", "settings"}),
    }


def _text_config(config: Config, partition: str | None) -> dict[str, Any]:
    encoders = {"text_encoder": config.text_encoder, "pooled_text_encoder": config.pooled_text_encoder}
    return {name: encoder.settings if encoder else None for name, encoder in encoders.items()}


def _image_config(config: Config, partition: str | None) -> dict[str, Any]:
    return {"image_encoder": config.image_encoder.settings if config.image_encoder else None}


# --- whether the output is still there


def _table(name: str) -> Callable[[Project, str | None, StageState], str | None]:
    def verify(project: Project, partition: str | None, state: StageState) -> str | None:
        from vid_assets.store.cache import read_slice
        from vid_assets.store.tables import equals

        return read_slice(project.store, name, equals("ingest_batch", partition)).output_digest

    return verify


def _by_step(module: str) -> Callable[[Project, str | None, StageState], str | None]:
    """Verification that a step module knows how to do: its function `verify`."""

    def verify(project: Project, partition: str | None, state: StageState) -> str | None:
        from importlib import import_module

        return import_module(f"vid_assets.steps.{module}").verify(project, partition, state)

    return verify


def all_stages(config: Config) -> dict[str, Stage]:
    """Every stage by name, in an order in which inputs come first."""
    stages = [
        Stage("source_files", code.SOURCES, None, _by_step("sources")),
        Stage("raw_videos", code.VIDEOS, "batch", _table("videos"), config=_decoding_limits, slices=_batch_files),
        Stage(
            "frame_stats",
            code.FRAME_STATS,
            "batch",
            _table("frame_stats"),
            ("raw_videos",),
            config=_measuring,
            slices=_present,
        ),
        Stage(
            "clips",
            code.SHOTS,
            "batch",
            _table("clips"),
            ("raw_videos", "frame_stats"),
            config=lambda config, _: {"shots": config.shots.model_dump()},
            slices=_present,
        ),
        Stage(
            "clip_scores",
            code.SCORES,
            "batch",
            _table("clip_scores"),
            ("raw_videos", "frame_stats", "clips"),
            slices=_present,
        ),
        Stage(
            "curated_clips",
            code.POLICY,
            "batch",
            _table("verdicts"),
            ("clips", "clip_scores"),
            config=lambda config, _: {"policy": config.policy.model_dump()},
        ),
        Stage("captions", code.CAPTIONS, "batch", _table("captions"), ("clips",), slices=_sidecars),
        Stage(
            "text_embeddings",
            code.TEXT,
            "batch",
            _by_step("text"),
            ("captions",),
            config=_text_config,
            slices=_text_weights,
        ),
        Stage(
            "duplicates",
            code.DUPLICATES,
            None,
            _table("duplicates"),
            ("raw_videos", "clip_scores", "curated_clips"),
            config=lambda config, _: {"duplicates": config.duplicates.model_dump()},
            slices=_present,
            tolerant=True,
        ),
        Stage("vae", code.VAE, None, _by_step("vae"), slices=_vae_weights),
        Stage(
            "latents",
            code.LATENTS,
            "batch",
            _by_step("latents"),
            ("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "vae"),
            config=_latent_config,
            slices=_latent_inputs,
        ),
    ]
    if config.image_encoder:
        stages.append(
            Stage(
                "image_embeddings",
                code.IMAGE,
                "batch",
                _by_step("first_frames"),
                ("latents",),
                config=_image_config,
                slices=_image_weights,
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
        left_out = {"name", "buckets", "checkpoint_every"} | (set() if previous else {"start_from"})
        return {f"stages.{name}": config.stage(name).model_dump(exclude=left_out)} | experiment(config, partition)

    def evaluation(config: Config, partition: str | None) -> dict[str, Any]:
        return {"evaluation": config.evaluation.model_dump()} | experiment(config, partition)

    def experiment(config: Config, partition: str | None) -> dict[str, Any]:
        return {f"experiments.{partition}": config.experiments[str(partition)].model_dump()}

    training_set, checkpoint = f"training_set/{name}", f"checkpoint/{name}"
    parent = (f"checkpoint/{previous}",) if previous else ()
    return [
        Stage(
            training_set,
            code.TRAINING_SET,
            None,
            _by_step("training_sets"),
            ("latents", *embeddings),
            config=members,
            slices=_present,
            tolerant=True,
        ),
        Stage(
            checkpoint,
            code.TRAIN,
            "experiment",
            _by_step("checkpoints"),
            (training_set, "vae", *parent),
            config=recipe,
        ),
        Stage(
            f"evaluation/{name}",
            code.EVALUATE,
            "experiment",
            _by_step("evaluations"),
            (training_set, "vae", checkpoint),
            config=evaluation,
        ),
    ]
