"""The section `experiments`: training recipes, with what a model preset decides where the recipe does not."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from model.denoisers import PRESETS
from model.objectives.base import ObjectiveSettings, SettingError
from model.recipe import ExperimentSettings, ImageConditioning, Lora, Positive
from vid_assets.section import ModelSource, Section, unknown_key, wrong_key


class LoraSection(Lora):
    __doc__ = Lora.__doc__

    alpha: Positive = Field(  # type: ignore[assignment]  # null becomes a number
        None, description="scale of the adapters, over rank; null: equal to rank"
    )

    @field_validator("alpha", mode="before")
    @classmethod
    def _as_rank(cls, value: Any, info: ValidationInfo) -> Any:
        return info.data.get("rank", 1) if value is None else value


class Experiment(Section, ExperimentSettings):
    """A training recipe; one partition of the training assets.

    What `objective` leaves out is the preset's: what its published weights were trained with.
    """

    model: Literal[tuple(PRESETS)] = "tiny-dit"  # type: ignore[valid-type]
    weights: ModelSource | None = Field(
        None, description="pretrained weights that the first stage starts from; null: fresh ones, by the seed"
    )
    image_conditioning: ImageConditioning | None = Field(
        None, description="first_frame: the model is given each video's first frame; null: as the preset has it"
    )
    lora: LoraSection | None = None
    objective: SerializeAsAny[ObjectiveSettings] = Field(  # type: ignore[assignment]  # the preset fills it up
        {}, description="name and keys of what is learned; see model/objectives"
    )

    @field_validator("objective", mode="plain")
    @classmethod
    def _objective(cls, value: Any, info: ValidationInfo) -> ObjectiveSettings | None:
        """The objective with all its keys; those that are left out are the preset's, then the objective's defaults."""
        preset = PRESETS.get(info.data.get("model", ""))
        if preset is None:
            return None  # one mistake, one error: that of `model`
        if not isinstance(value, dict):
            raise ValueError(f"must be a mapping of keys to values, got {value!r}")
        name = preset.objective.name
        if value.get("name", name) != name:
            raise wrong_key("name", f"{preset.name} takes the objective {name} alone, not {value['name']!r}")
        for key in value:
            if key not in type(preset.objective).model_fields:
                raise unknown_key(str(key), list(type(preset.objective).model_fields))
        try:
            return type(preset.objective).read(preset.objective.model_dump() | value)
        except SettingError as error:
            raise wrong_key(error.key, error.words) from None

    @property
    def conditioning(self) -> str:
        """`none` or `first_frame`, the preset's where the recipe does not say."""
        return self.image_conditioning or PRESETS[self.model].image_conditioning

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the weights that come out, beside those that training starts from; every default is said."""
        return self.model_dump(mode="json", exclude={"weights"}) | {"image_conditioning": self.conditioning}
