"""The section `stages`: the curriculum, and what of it is held out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from model.recipe import PolicyName, Schedule, StageRuntime, StageSettings
from vid_assets.encoding.settings import Bucket
from vid_assets.section import Fraction, Name, Section


def _activation(value: Any) -> str | dict[str, bool]:
    if value in ("auto", *get_args(PolicyName)) or (
        isinstance(value, dict) and value and all(isinstance(choice, bool) for choice in value.values())
    ):
        return value
    raise ValueError(
        f"must be auto, {', '.join(get_args(PolicyName))}, or a mapping of patterns of module or class names to true "
        f"or false, got {value!r}"
    )


def _by_name(values: dict[str, Any]) -> dict[str, Any]:
    """The values by the names of their buckets, in order."""
    named = {Bucket.parse(text).name: value for text, value in values.items()}
    if len(named) != len(values):
        raise ValueError("a bucket is listed twice")
    return dict(sorted(named.items()))


class Stage(Section, StageSettings, StageRuntime):
    """One stage of the curriculum: what it trains on, for how long, and from which weights it starts."""

    name: Name
    buckets: tuple[str, ...] = Field(min_length=1)
    activation: Annotated[str | dict[str, bool], PlainValidator(_activation)] = Field(
        "auto",
        description="what is computed again instead of kept for the backward pass: a policy, or true or false by "
        "pattern of module or class names; auto: the cheapest policy that fits train.memory_gb. Changes no result",
    )
    lr: float = Field(1e-3, gt=0)  # of which a manifest may say 0, to measure a step that changes nothing
    start_from: Literal["ema", "raw"] = Field("ema", description="which weights of the stage before")

    @field_validator("buckets")
    @classmethod
    def _buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(Bucket.parse(text).name for text in value)
        if len(set(names)) != len(names):
            raise ValueError("a bucket is listed twice")
        return names

    @field_validator("mix")
    @classmethod
    def _mix_names(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        return _by_name(value) if value is not None else None

    @field_validator("batch_size", "micro_batch", mode="wrap")
    @classmethod
    def _counts(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            found = check(value)
        except ValidationError:
            raise ValueError(
                f"must be a whole number of at least 1, or such a number for each bucket, got {value!r}"
            ) from None
        return _by_name(found) if isinstance(found, dict) else found

    @field_validator("schedule")
    @classmethod
    def _used(cls, value: Schedule) -> Schedule:
        if value.name == "constant" and "final_share" in value.model_fields_set:
            raise ValueError("final_share is for cosine and linear; with name constant, lr stays as it is")
        return value

    @model_validator(mode="after")
    def _share(self) -> Stage:
        kinds = {bucket.kind for bucket in self.parsed_buckets}
        if self.image_share > 0 and "image" not in kinds:
            raise ValueError(
                f"image_share is {self.image_share:g}, but no bucket has one frame; add one such as 1x96x128"
            )
        if self.image_share < 1 and "video" not in kinds:
            raise ValueError(
                f"image_share is {self.image_share:g}, but no bucket is a video; add one or set image_share: 1"
            )
        if self.image_share == 0 and "image" in kinds:
            raise ValueError("an image bucket is listed, but image_share is 0; declare the share or remove the bucket")
        if self.image_share == 1 and "video" in kinds:
            raise ValueError("a video bucket is listed, but image_share is 1; declare the share or remove the bucket")
        return self

    @model_validator(mode="after")
    def _by_bucket(self) -> Stage:
        for key, wanted in (
            ("mix", self.buckets),
            ("micro_batch", self.buckets),
            ("batch_size", self.deciding_buckets),
        ):
            given = getattr(self, key)
            if isinstance(given, dict) and set(given) != set(wanted):
                raise ValueError(f"{key} names {', '.join(given)}; it must name all of {', '.join(wanted)}")
        return self

    @model_validator(mode="after")
    def _warm(self) -> Stage:
        warmup = self.schedule.warmup_steps
        if "warmup_steps" in self.schedule.model_fields_set and warmup > self.steps:
            raise ValueError(f"schedule.warmup_steps is {warmup}, but steps is {self.steps}: lr would not be reached")
        return self

    @property
    def parsed_buckets(self) -> tuple[Bucket, ...]:
        return tuple(Bucket.parse(text) for text in self.buckets)

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the weights that come out, beside the training set and the weights before."""
        return self.model_dump(mode="json", include=set(StageSettings.model_fields))

    @property
    def deciding_buckets(self) -> tuple[str, ...]:
        """The buckets that decide how large a batch is: those of its videos, or of its images where it has none."""
        videos = tuple(bucket.name for bucket in self.parsed_buckets if bucket.kind == "video")
        return videos or self.buckets

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Samples in a batch, by the bucket that decides."""
        if isinstance(self.batch_size, dict):
            return dict(self.batch_size)
        return dict.fromkeys(self.deciding_buckets, self.batch_size)


class Heldout(Section):
    """Share of the videos kept out of training, chosen by a hash that never changes."""

    share: Fraction = 0.1
    minimum: int = Field(0, ge=0, description="at least so many held-out groups, taken in hash order")
