"""The one configuration file: its sections, with their keys, defaults and limits, and what they must keep together.

Every section is a strict pydantic model, in a file of this package by subject; `config_file` reads the file and turns
what is wrong into words. Nothing here imports Dagster or anything heavy. Which section enters which asset's
fingerprint is decided in `vid_assets.stages`.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from vid_assets.config.base import ConfigError, ModelSource, Name, Section
from vid_assets.config.consistency import check_evaluation, check_experiments, check_stages
from vid_assets.config.curriculum import Heldout, LrSchedule, Stage
from vid_assets.config.experiments import Experiment, Lora, Optimizer
from vid_assets.config.footage import Batching, Decoding, Duplicates, Ingest, Policy, Shots, Source
from vid_assets.config.latents import (
    Bucket,
    Encoder,
    Encoding,
    ImageEncoder,
    PooledTextEncoder,
    TextEncoder,
    TextSource,
    Vae,
    Windows,
)
from vid_assets.config.training import Evaluation, Train

__all__ = [
    "Batching",
    "Bucket",
    "Config",
    "ConfigError",
    "Decoding",
    "Duplicates",
    "Encoder",
    "Encoding",
    "Evaluation",
    "Experiment",
    "Heldout",
    "ImageEncoder",
    "Ingest",
    "Lora",
    "LrSchedule",
    "ModelSource",
    "Optimizer",
    "Policy",
    "PooledTextEncoder",
    "Schedule",
    "Section",
    "Shots",
    "Source",
    "Stage",
    "TextEncoder",
    "TextSource",
    "Train",
    "Vae",
    "Windows",
]


class Schedule(Section):
    """When the nightly job runs, and whether it is on without a click in the web UI."""

    enabled: bool = False
    cron: str = "0 2 * * *"
    timezone: str = "UTC"


class Config(Section):
    """The whole file. `sources`, `vae`, `stages` and `experiments` have no default: they are yours to say."""

    sources: tuple[Source, ...] = Field(min_length=1)
    batching: Batching = Batching()
    ingest: Ingest = Ingest()
    decoding: Decoding = Decoding()
    shots: Shots = Shots()
    policy: Policy = Policy()
    duplicates: Duplicates = Duplicates()
    vae: Vae
    text_encoder: TextEncoder | None = None
    pooled_text_encoder: PooledTextEncoder | None = None
    image_encoder: ImageEncoder | None = None
    encoding: Encoding = Encoding()
    windows: Windows = Windows()
    stages: tuple[Stage, ...] = Field(min_length=1)
    experiments: dict[Name, Experiment] = Field(description="may be empty: nothing is trained then")
    train: Train = Train()
    heldout: Heldout = Heldout()
    evaluation: Evaluation = Evaluation()
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        check_stages(self)
        check_experiments(self)
        check_evaluation(self)
        return self

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Every bucket that some stage trains on, once, in order of name."""
        return tuple(Bucket.parse(name) for name in sorted({name for stage in self.stages for name in stage.buckets}))

    def stage(self, name: str) -> Stage:
        """The stage called `name`."""
        return next(stage for stage in self.stages if stage.name == name)

    def previous_stage(self, name: str) -> Stage | None:
        """The stage whose checkpoint `name` starts from, None for the first."""
        names = [stage.name for stage in self.stages]
        index = names.index(name)
        return self.stages[index - 1] if index else None
