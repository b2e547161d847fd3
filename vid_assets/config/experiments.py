"""The section `experiments`: training recipes, with what a model preset decides where the recipe does not."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from model.objectives.settings import OBJECTIVES, ObjectiveError, as_mapping, read_settings
from model.presets import PRESETS
from vid_assets.config.base import Fraction, ModelSource, Section, unknown_key, wrong_key


class Optimizer(Section):
    """AdamW. `adamw_fused` is quicker on a GPU; `adamw_8bit` keeps its state in a quarter of the memory (an extra)."""

    name: Literal["adamw", "adamw_fused", "adamw_8bit"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)


class Lora(Section):
    """Low-rank adapters that are trained in place of the weights (arXiv:2106.09685). Needs the extra `lora`."""

    rank: int = Field(ge=1)
    alpha: float | None = Field(None, gt=0, description="scale of the adapters, over rank; null: equal to rank")
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="ends of the names of adapted layers; null: the attention's projections"
    )
    dropout: Fraction = 0.0


class Experiment(Section):
    """A training recipe; one partition of the training assets.

    What `objective` leaves out is the preset's: what its published weights were trained with.
    """

    model: Literal[tuple(PRESETS)] = "tiny-dit"  # type: ignore[valid-type]
    weights: ModelSource | None = Field(
        None, description="pretrained weights that the first stage starts from; null: fresh ones, by the seed"
    )
    image_conditioning: Literal["none", "first_frame"] | None = Field(
        None, description="first_frame: the model is given each video's first frame; null: as the preset has it"
    )
    objective: dict[str, Any] = Field({}, description="name and keys of what is learned; see model/objectives")
    seed: int = 0
    caption_dropout: Fraction = 0.1
    optimizer: Optimizer = Optimizer()
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the forward and backward pass; weights and optimiser are kept in fp32"
    )
    lora: Lora | None = None

    @field_validator("objective", mode="plain")
    @classmethod
    def _objective(cls, value: Any, info: ValidationInfo) -> dict[str, Any]:
        """The objective with all its keys; those that are left out are the preset's, then the objective's defaults."""
        preset = PRESETS.get(info.data.get("model", ""))
        if preset is None:
            return {}  # one mistake, one error: that of `model`
        if not isinstance(value, dict):
            raise ValueError(f"must be a mapping of keys to values, got {value!r}")
        name = preset.objective["name"]
        if value.get("name", name) != name:
            raise wrong_key("name", f"{preset.name} takes the objective {name} alone, not {value['name']!r}")
        keys = ("name", *(one.name for one in fields(OBJECTIVES[name])))
        for key in value:
            if key not in keys:
                raise unknown_key(str(key), keys)
        try:
            return as_mapping(read_settings({**preset.objective, **value}))
        except ObjectiveError as error:
            key, _, words = str(error).removeprefix("objective.").partition(" ")
            raise wrong_key(key.rstrip(":"), words) from None

    @property
    def conditioning(self) -> str:
        """`none` or `first_frame`, the preset's where the recipe does not say."""
        return self.image_conditioning or PRESETS[self.model].image_conditioning

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the weights that come out, beside those that training starts from; every default is said."""
        lora = (
            self.lora.model_dump(mode="json") | {"alpha": self.lora.alpha or float(self.lora.rank)}
            if self.lora
            else None
        )
        decided = {"image_conditioning": self.conditioning, "lora": lora}
        return self.model_dump(mode="json", exclude={"weights"}) | decided
