"""The one configuration file: its sections, with their keys, defaults and limits, and what they must keep together.

Every section is a strict pydantic model: beside the code that reads it where that has a room (`settings` of footage,
curation and encoding, `curation.policy`), else in a file here. `file` reads it and turns what is wrong into words.
Nothing here imports Dagster or anything heavy. Which section enters which asset's fingerprint is said by the asset.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from model.recipe import Evaluation
from vid_assets.config.consistency import Encoders, check_evaluation, check_experiments, check_stages
from vid_assets.config.curriculum import Heldout, Stage
from vid_assets.config.experiments import Experiment
from vid_assets.config.training import Train
from vid_assets.curation.policy import Policy
from vid_assets.curation.settings import Duplicates, Shots
from vid_assets.encoding.settings import (
    Bucket,
    Encoding,
    ImageEncoderSection,
    PooledTextEncoderSection,
    TextEncoderSection,
    Vae,
    Windows,
)
from vid_assets.footage.settings import Batching, Decoding, Ingest, SourceFolder
from vid_assets.section import Name, Section


class Nightly(Section):
    """When the nightly job runs, and whether it is on without a click in the web UI."""

    enabled: bool = False
    cron: str = "0 2 * * *"
    timezone: str = "UTC"


class Config(Section):
    """The whole file. `sources`, `vae`, `stages` and `experiments` have no default: they are yours to say."""

    sources: tuple[SourceFolder, ...] = Field(min_length=1)
    batching: Batching = Batching()
    ingest: Ingest = Ingest()
    decoding: Decoding = Decoding()
    shots: Shots = Shots()
    policy: Policy = Policy()
    duplicates: Duplicates = Duplicates()
    vae: Vae
    text_encoder: TextEncoderSection | None = None
    pooled_text_encoder: PooledTextEncoderSection | None = None
    image_encoder: ImageEncoderSection | None = None
    encoding: Encoding = Encoding()
    windows: Windows = Windows()
    stages: tuple[Stage, ...] = Field(min_length=1)
    experiments: dict[Name, Experiment] = Field(description="may be empty: nothing is trained then")
    train: Train = Train()
    heldout: Heldout = Heldout()
    evaluation: Evaluation = Evaluation()
    schedule: Nightly = Nightly()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        made = Encoders(self.vae, self.text_encoder, self.pooled_text_encoder, self.image_encoder)
        check_stages(self.stages, self.vae, self.train)
        check_experiments(self.experiments, made, self.train)
        check_evaluation(self.evaluation, self.vae)
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
