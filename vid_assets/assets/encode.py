"""Conditioning and encoding: `captions`, `text_embeddings`, `vae`, `latents` and `image_embeddings`."""

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
    "latents_shaped": "Every latent has the shape and the type that its bucket, the VAE and the configuration say.",
    "latents_finite": "Latents read back from the store are finite and have their checksums.",
}
_RECONSTRUCTION = (
    "Some latents are decoded and compared with their source: PSNR no worse than that of the same windows before, nor "
    "than encoding.psnr_min. A warning."
)


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
        description="The text of the sidecars of each file, for all its clips. No caption is a valid state.",
    )
    def captions(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import captions as step

        return execute(
            context,
            project,
            "captions",
            lambda project, batch, progress: step.captions(project, str(batch), config.force, progress),
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
        description="Encoder states of each caption, unpadded, and its pooled state if there is an encoder for it, "
        "keyed by text, the encoder's weights and its settings.",
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
        ]
        + [dg.AssetCheckSpec("reconstruction", asset="latents", description=_RECONSTRUCTION)],
        description="VAE latents of the kept clips that lost to none, in every bucket of the curriculum, encoded once.",
    )
    def latents(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import latents as step
        from vid_assets.steps.latent_audit import audit_view

        return execute(
            context,
            project,
            "latents",
            lambda project, batch, progress: step.latents(project, str(batch), config.force, progress),
            force=config.force,
            views=lambda project, batch, facts, again: audit_view(project, str(batch)),
            checks=latent_checks,
            table="latents",
        )

    if config.image_encoder is None:
        return [captions, text_embeddings, vae, latents]

    @dg.asset(
        partitions_def=ingest_batch,
        deps=[latents],
        group_name="encode",
        kinds={"huggingface", "lancedb"},
        code_version=dagster_code_version(stages["image_embeddings"], config),
        automation_condition=follow_changes(),
        description="The image embedding of each sample's first frame, keyed by its pixels and the encoder; no VAE is "
        "in the key.",
    )
    def image_embeddings(
        context: dg.AssetExecutionContext, config: StageConfig, project: dg.ResourceParam[Project]
    ) -> dg.MaterializeResult:
        from vid_assets.steps import first_frames as step

        return execute(
            context,
            project,
            "image_embeddings",
            lambda project, batch, progress: step.image_embeddings(project, str(batch), config.force, progress),
            force=config.force,
            table="first_frames",
        )

    return [captions, text_embeddings, vae, latents, image_embeddings]
