"""What enters the fingerprints of assets beside the versions of their inputs: slices of tables, weights, configuration.

A slice is the part of a global table, or of the files, that concerns one partition; each function gives hashes by name.
Here too: how an asset's output is looked at again, so that what was changed or deleted is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

from vid_assets.config import Config
from vid_assets.project import Project
from vid_assets.store.state import StageState, digest


def batches(project: Project) -> list[str]:
    """The ingest batches that `source_files` has formed, in order."""
    return sorted({row["ingest_batch"] for row in project.store.read("sources", columns=["ingest_batch"])})


# --- inputs that are slices of tables


def files_digest(rows: Iterable[dict[str, Any]]) -> str:
    """Hash of the files of a batch: uri, size, version, state."""
    return digest(sorted((row["uri"], row["size_bytes"], row["etag"], row["state"]) for row in rows))


def batch_files(project: Project, batch: str | None) -> dict[str, str]:
    """The files of a batch, and the extra that may read what could not be read."""

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


def present(project: Project, batch: str | None) -> dict[str, str]:
    """The videos that have a present source."""
    return {"present videos": digest(presence(project, batch))}


def sidecars(project: Project, batch: str | None) -> dict[str, str]:
    """The captions' files that concern a batch."""

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


def latent_inputs(project: Project, batch: str | None) -> dict[str, str]:
    """Who lost to a better copy, which decoders there are, and which videos."""

    from vid_assets.footage.decode import decoder_version

    decoders = {"decoders": f"{decoder_version('decord')}, {decoder_version('pyav')}"}
    return {"duplicates": digest(lost_clips(project, batch))} | decoders | present(project, batch)


def text_weights(project: Project, batch: str | None) -> dict[str, str]:
    """The weights of the text encoders."""

    from vid_assets.steps.text import encoder_hashes

    return {f"{kind} encoder weights": found for kind, found in encoder_hashes(project).items()}


def image_weights(project: Project, batch: str | None) -> dict[str, str]:
    """The weights of the image encoder."""

    from vid_assets.steps.vae import weights_of

    encoder = project.config.image_encoder
    return {"image encoder weights": weights_of(project, encoder).hash} if encoder else {}


def vae_weights(project: Project, partition: str | None) -> dict[str, str]:
    """The weights of the VAE."""

    from vid_assets.steps.vae import weights_of

    return {"vae weights": weights_of(project, project.config.vae).hash}


# --- what of the config enters


def decoding_limits(config: Config, partition: str | None) -> dict[str, Any]:
    """Raised, what failed by them is tried again; what was read stands in any case."""
    return {"decoding": config.decoding.model_dump()}


def measuring(config: Config, partition: str | None) -> dict[str, Any]:
    """The limits of reading, and the groups of statistics that are optional."""

    from vid_assets.curation.groups import GROUPS, wanted_groups

    extra = {name: version for name, version in wanted_groups(config.shots).items() if name not in GROUPS}
    return decoding_limits(config, partition) | ({"optional groups": extra} if extra else {})


def latent_config(config: Config, partition: str | None) -> dict[str, Any]:
    """What of the configuration decides which latents there are, and what is in them."""
    return {
        "buckets": [bucket.name for bucket in config.buckets],
        "encoding": config.encoding.model_dump(include={"posterior", "dtype", "first_frames"}),
        "windows": config.windows.model_dump(),
        "vae": config.vae.model_dump(include={"family", "dtype", "tiling", "settings"}),
    }


def text_config(config: Config, partition: str | None) -> dict[str, Any]:
    """The settings of the text encoders."""
    encoders = {"text_encoder": config.text_encoder, "pooled_text_encoder": config.pooled_text_encoder}
    return {name: encoder.settings if encoder else None for name, encoder in encoders.items()}


def image_config(config: Config, partition: str | None) -> dict[str, Any]:
    """The settings of the image encoder."""
    return {"image_encoder": config.image_encoder.settings if config.image_encoder else None}


# --- whether the output is still there


def table(name: str) -> Callable[[Project, str | None, StageState], str | None]:
    """Verification of a batch's slice of a table."""

    def verify(project: Project, partition: str | None, state: StageState) -> str | None:
        from vid_assets.store.cache import read_slice
        from vid_assets.store.tables import equals

        return read_slice(project.store, name, equals("ingest_batch", partition)).output_digest

    return verify


def by_step(module: str) -> Callable[[Project, str | None, StageState], str | None]:
    """Verification that a step module knows how to do: its function `verify`."""

    def verify(project: Project, partition: str | None, state: StageState) -> str | None:
        from importlib import import_module

        return import_module(f"vid_assets.steps.{module}").verify(project, partition, state)

    return verify
