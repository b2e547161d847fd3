"""The settings of a training run: what decides what is learned, and how it is carried out. No torch.

Each is declared here once, with its default, its bounds and what it means. Sections of a configuration are built on the
groups that bear its name; a training manifest (`model.manifest`) holds them decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    SerializeAsAny,
    Tag,
)

from model.objectives import read_settings
from model.objectives.base import ObjectiveError, ObjectiveSettings


def _objective(value: Any) -> ObjectiveSettings:
    if isinstance(value, ObjectiveSettings):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no mapping of keys to values")
    try:
        return read_settings(value)
    except ObjectiveError as error:
        raise ValueError(str(error).removeprefix("objective.")) from None


def _one_or_each(value: Any) -> str:
    return "each" if isinstance(value, Mapping) else "one"


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
#: A share that is never the whole.
Share = Annotated[float, Field(ge=0, lt=1)]
#: A number of samples, or one for each bucket.
Counts = Annotated[Annotated[Count, Tag("one")] | Annotated[dict[str, Count], Tag("each")], Discriminator(_one_or_each)]
#: A policy of activation checkpointing, or {pattern of module names or class names: whether to recompute}.
Activation = Annotated[
    Annotated[Text, Tag("one")] | Annotated[dict[str, bool], Tag("each")], Discriminator(_one_or_each)
]
#: Names of policies of activation checkpointing, the one that recomputes least first.
PolicyName = Literal["none", "diffusers", "temporal", "attention", "block"]
ImageConditioning = Literal["none", "first_frame"]
Objective = Annotated[
    SerializeAsAny[ObjectiveSettings], PlainValidator(_objective, json_schema_input_type=dict[str, Any])
]


class Settings(BaseModel):
    """Base of every group of settings: strict about its keys, immutable, and documented by its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, defer_build=True)


class Optimizer(Settings):
    """AdamW. `adamw_fused` is quicker on a GPU; `adamw_8bit` keeps its state in a quarter of the memory (an extra)."""

    name: Literal["adamw", "adamw_fused", "adamw_8bit"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-8


class Lora(Settings):
    """Low-rank adapters that are trained in place of the weights (arXiv:2106.09685). Needs the extra `lora`."""

    rank: Count
    alpha: Positive = Field(description="scale of the adapters, over rank")
    targets: tuple[Text, ...] | None = Field(
        None, min_length=1, description="ends of the names of adapted layers; null: the attention's projections"
    )
    dropout: Fraction = 0.0


class Schedule(Settings):
    """How the learning rate goes: up to `lr` in a straight line, then by `name` down to its last value."""

    name: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = Field(10, ge=0)
    final_share: Fraction = Field(0.0, description="share of lr that is left at the last step; not for constant")


class _Computing(Settings):
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the forward and backward pass; weights and optimiser are kept in fp32"
    )


class ExperimentSettings(_Computing):
    """What an experiment says of all its stages."""

    seed: int = 0
    caption_dropout: Fraction = 0.1
    optimizer: Optimizer = Optimizer()
    lora: Lora | None = None


class StageSettings(Settings):
    """What a stage of the curriculum says of what is learned, beside what it is learned from."""

    image_share: Fraction = Field(0.0, description="declared share of training that is images")
    share_unit: Literal["samples", "tokens"] = Field(
        "samples", description="what image_share is a share of: samples, or tokens (positions of the latents)"
    )
    mix: dict[str, Positive] | None = Field(
        None, description="weight of each bucket among those of its kind; null: its number of samples"
    )
    steps: Count
    batch_size: Counts = Field(
        4,
        description="samples in a batch, over all processes; or for each video bucket, those in a batch with its "
        "videos (for each image bucket, in a stage without videos)",
    )
    lr: float = Field(1e-3, ge=0)
    schedule: Schedule = Schedule()
    grad_clip: Positive = 1.0
    ema_decay: Share = 0.98


class StageRuntime(Settings):
    """What a stage says of how it is carried out."""

    micro_batch: Counts | None = Field(
        None, description="samples that one forward pass takes, or for each bucket; null: all. Changes no result"
    )
    checkpoint_every: Count = 100


class RunSettings(Settings):
    """How all runs are carried out. None of this changes what is learned, beyond rounding."""

    threads: Count | None = None
    workers: int = Field(0, ge=0, description="processes that read batches ahead; 0: a thread, mostly faster")
    processes: Count | None = Field(None, description="training processes; null: one for each GPU, or one")
    engine: Literal["ddp", "fsdp2"] = Field(
        "ddp", description="ddp: each process has the whole model; fsdp2: weights, gradients and optimiser are divided"
    )
    keep_last: Count = Field(2, description="step folders kept, beside the best by held-out loss")
    validate_every: Count | None = Field(
        None, description="steps between measurements of the held-out loss; null: at the start and the end alone"
    )
    dry_run: bool = Field(True, description="one step of each bucket first, so that one too long fails at once")
    tensorboard: bool = True


class Evaluation(Settings):
    """What is generated and measured after each stage."""

    videos: int = Field(2, ge=0)
    sampling_steps: Count = 20
    guidance: float | None = Field(
        None, ge=0, description="scale of classifier-free guidance, twice the work; null: none (as 1)"
    )
    fps: Count = 8
    seed: int = 0
    decode_dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="the VAE decodes in it")
    decode_tiling: bool = Field(False, description="decode in spatial tiles: less memory, blended seams")


class Weights(Settings):
    """Weights to start from: their folder, and the hash that they must have."""

    folder: Text
    weights_hash: Text


class Parent(Weights):
    """The checkpoint that a stage starts from, and which of its weights."""

    weights: Literal["ema", "raw"]


class Denoiser(_Computing):
    """What of a recipe says which denoiser it is, and how it computes; what else stands beside it is passed over."""

    model_config = ConfigDict(extra="ignore")

    model: Text = Field(description="a preset")
    family: Text
    image_conditioning: ImageConditioning
    objective: Objective

    @property
    def first_frame(self) -> bool:
        """Whether the model is given the first frame of each video."""
        return self.image_conditioning == "first_frame"


class Recipe(ExperimentSettings, StageSettings, Denoiser):
    """All that decides what is learned from a training set."""

    model_config = ConfigDict(extra="forbid")

    weights: Weights | None = Field(description="pretrained ones to start from; null: fresh ones, or the parent's")


class Runtime(RunSettings, StageRuntime):
    """How one run is carried out."""

    device: Text
    activation: Activation


def eight_bit_is_cut(optimizer: Optimizer, run: RunSettings, section: str) -> str | None:
    """Why an optimiser and the way of a run exclude each other, None where they do not; `section` is that of `run`."""
    if optimizer.name != "adamw_8bit" or run.engine != "fsdp2" or run.processes == 1:
        return None
    return (
        f"adamw_8bit works in blocks that {section}.engine: fsdp2 would cut apart; use adamw or adamw_fused, whose "
        f"state fsdp2 divides, or {section}.engine: ddp"
    )
