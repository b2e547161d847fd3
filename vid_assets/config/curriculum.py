"""The section `stages`: the curriculum, and what of it is held out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, field_validator, model_validator

from vid_assets.config.base import Fraction, Name, Section
from vid_assets.config.latents import Bucket

Count = Annotated[int, Field(ge=1)]
Policy = Literal["none", "diffusers", "temporal", "attention", "block"]


def _counts(value: Any) -> int | dict[str, int]:
    """A number of samples, or one for each bucket, named as the buckets are."""
    kind: Any = dict[str, Count] if isinstance(value, dict) else Count
    try:
        found = TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise ValueError(
            f"must be a whole number of at least 1, or such a number for each bucket, got {value!r}"
        ) from None
    return _by_name(found) if isinstance(found, dict) else found


def _by_name(values: dict[str, Any]) -> dict[str, Any]:
    """The values by the names of their buckets, in order."""
    named = {Bucket.parse(text).name: value for text, value in values.items()}
    if len(named) != len(values):
        raise ValueError("a bucket is listed twice")
    return dict(sorted(named.items()))


def _activation(value: Any) -> str | dict[str, bool]:
    if value in ("auto", *get_args(Policy)) or (
        isinstance(value, dict) and value and all(isinstance(choice, bool) for choice in value.values())
    ):
        return value
    raise ValueError(
        f"must be auto, {', '.join(get_args(Policy))}, or a mapping of patterns of module or class names to true or "
        f"false, got {value!r}"
    )


Counts = Annotated[int | dict[str, int], PlainValidator(_counts)]


class LrSchedule(Section):
    """How the learning rate goes: up to `lr` in a straight line, then by `name` down to its last value."""

    name: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = Field(10, ge=0)
    final_share: Fraction = Field(0.0, description="share of lr that is left at the last step; not for constant")

    @model_validator(mode="after")
    def _used(self) -> LrSchedule:
        if self.name == "constant" and "final_share" in self.model_fields_set:
            raise ValueError("final_share is for cosine and linear; with name constant, lr stays as it is")
        return self


class Stage(Section):
    """One stage of the curriculum: what it trains on, for how long, and from which weights it starts."""

    name: Name
    buckets: tuple[str, ...] = Field(min_length=1)
    image_share: Fraction = Field(0.0, description="declared share of training that is images")
    share_unit: Literal["samples", "tokens"] = Field(
        "samples", description="what image_share is a share of: samples, or tokens (positions of the latents)"
    )
    mix: dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="weight of each bucket among those of its kind; null: its number of samples"
    )
    steps: int = Field(ge=1)
    batch_size: Counts = Field(
        4,
        description="samples in a batch, over all processes; or for each video bucket, those in a batch with its "
        "videos (for each image bucket, in a stage without videos)",
    )
    micro_batch: Counts | None = Field(
        None, description="samples that one forward pass takes, or for each bucket; null: all. Changes no result"
    )
    activation: Annotated[str | dict[str, bool], PlainValidator(_activation)] = Field(
        "auto",
        description="what is computed again instead of kept for the backward pass: a policy, or true or false by "
        "pattern of module or class names; auto: the cheapest policy that fits train.memory_gb. Changes no result",
    )
    lr: float = Field(1e-3, gt=0)
    schedule: LrSchedule = LrSchedule()
    grad_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.98, ge=0, lt=1)
    start_from: Literal["ema", "raw"] = Field("ema", description="which weights of the stage before")
    checkpoint_every: int = Field(100, ge=1)

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
        return self.model_dump(
            mode="json", exclude={"name", "buckets", "start_from", "checkpoint_every", "micro_batch", "activation"}
        )

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
