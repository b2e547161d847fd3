"""The assets: one file each, in a folder called as its group in the web UI.

Another asset is a file, and a line in `ASSETS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vid_assets.assets.asset import Asset, Assets, Work
from vid_assets.assets.curate import clip_scores, clips, curated_clips, duplicates, frame_stats
from vid_assets.assets.encode import captions, image_embeddings, latents, text_embeddings, vae
from vid_assets.assets.ingest import raw_videos, source_files
from vid_assets.assets.train.checkpoint import checkpoint_asset
from vid_assets.assets.train.evaluation import evaluation_asset
from vid_assets.assets.train.training_set import training_set_asset
from vid_assets.config import Config
from vid_assets.project import Project

#: Those of the data, inputs first; of neighbours in this order that are partitioned alike, one run makes all.
ASSETS = (
    source_files.ASSET,
    raw_videos.ASSET,
    frame_stats.ASSET,
    clips.ASSET,
    clip_scores.ASSET,
    curated_clips.ASSET,
    captions.ASSET,
    text_embeddings.ASSET,
    duplicates.ASSET,
    vae.ASSET,
    latents.ASSET,
    image_embeddings.ASSET,
)


def assets_of(config: Config) -> Assets:
    """Every asset of a configuration by name, inputs first: those of `ASSETS` that it has, and its stages' chain."""
    data = [asset for asset in ASSETS if asset.wanted(config)]
    return {asset.name: asset for asset in [*data, *_chain(config, data)]}


def work_of(project: Project, name: str, partition: str | None = None, **more: Any) -> Work:
    """An asset partition of a project at work, for whoever has it done; `more` is as of `Work`."""
    return Work(project, assets_of(project.config), name, partition, **more)


def _chain(config: Config, data: Sequence[Asset]) -> list[Asset]:
    embedded = [asset.name for asset in data if asset.conditions]
    chain: list[Asset] = []
    previous: str | None = None
    for stage in config.stages:
        chain.append(training_set_asset(stage.name, embedded))
        if config.experiments:
            chain += [checkpoint_asset(stage.name, previous), evaluation_asset(stage.name)]
        previous = stage.name
    return chain
