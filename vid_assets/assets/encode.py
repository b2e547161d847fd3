"""Conditioning and encoding: `captions`, `text_embeddings`, `vae` and `latents`."""

import dagster as dg

from vid_assets.assets.base import StageConfig, dagster_code_version, execute, key_of
from vid_assets.automation import follow_changes
from vid_assets.checks import latent_checks
from vid_assets.partitions import ingest_batch
from vid_assets.project import Project
from vid_assets.stages import all_stages

_LATENT_CHECKS = {
    "rows_equal_windows": "There is one latent for every window of the batch's kept clips.",
    "keys_unique": "No two windows share a content key.",
    "latents_finite": "Latents read back from the store are finite and have their checksums.",
}


def build(project: Project) -> list[dg.AssetsDefinition]:
    """The assets of this file for a configuration."""
    stages, config = all_stages(project.config), project.config

    @dg.asset(
        partitions_def=ingest_batch,
        deps=[key_of("source_files"), key_of("clips")],
        group_name="encode",
        kinds={"file", "lancedb"},
        code_version=dagster_code_version(stages["captions"], config),
        automation_condition=follow_changes(ignore=("source_files",)),
        description="The text of the sidecar beside each file, for all its clips. No caption is a valid state.",
    )
    def captions(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import text

        return execute(
            context,
            project,
            "captions",
            lambda project, batch, progress: text.captions(project, str(batch), config.force, progress),
            force=config.force,
            table="captions",
        )

    @dg.asset(
        partitions_def=ingest_batch,
        deps=[captions],
        group_name="encode",
        kinds={"huggingface", "lancedb"},
        code_version=dagster_code_version(stages["text_embeddings"], config),
        automation_condition=follow_changes(),
        description="Encoder states of each caption, unpadded, keyed by text, the encoder's weights and its settings.",
    )
    def text_embeddings(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import text

        return execute(
            context,
            project,
            "text_embeddings",
            lambda project, batch, progress: text.text_embeddings(project, str(batch), config.force, progress),
            force=config.force,
            table="embeddings",
        )

    note = f" ({config.vae.note})" if config.vae.note else ""

    @dg.asset(
        group_name="encode",
        kinds={"huggingface"},
        code_version=dagster_code_version(stages["vae"], config),
        automation_condition=follow_changes(),
        description=f"The weights of the {config.vae.family} VAE{note}. The data version is the hash of their content.",
    )
    def vae(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import vae as step

        return execute(context, project, "vae", lambda project, *_: step.vae(project), force=config.force)

    @dg.asset(
        partitions_def=ingest_batch,
        deps=[
            key_of(name)
            for name in (
                "source_files",
                "raw_videos",
                "frame_stats",
                "clips",
                "clip_scores",
                "curated_clips",
                "captions",
                "duplicates",
                "vae",
            )
        ],
        group_name="encode",
        kinds={"pytorch", "lancedb"},
        code_version=dagster_code_version(stages["latents"], config),
        automation_condition=follow_changes(ignore=("source_files", "duplicates")),
        check_specs=[
            dg.AssetCheckSpec(name, asset="latents", blocking=True, description=text)
            for name, text in _LATENT_CHECKS.items()
        ],
        description="VAE latents of the kept clips that lost to none, in every bucket of the curriculum, encoded once.",
    )
    def latents(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import latents as step

        return execute(
            context,
            project,
            "latents",
            lambda project, batch, progress: step.latents(project, str(batch), config.force, progress),
            force=config.force,
            checks=latent_checks,
            table="latents",
        )

    return [captions, text_embeddings, vae, latents]
