"""What every section of the configuration is built on: its strictness, its common types, and its error."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """The configuration file cannot be used; the message names each key and what is allowed there."""


def nearest(name: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no allowed name resembles `name`."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_key(key: str, allowed: Sequence[str]) -> PydanticCustomError:
    """The error for a key that is not there, for validators that read a mapping themselves."""
    return wrong_key(key, f"unknown key{nearest(key, allowed) or '.'} Allowed here: {', '.join(allowed)}")


def wrong_key(key: str, words: str) -> PydanticCustomError:
    """The error for one key of a mapping that a validator reads itself; `config_file` adds it to the path."""
    return PydanticCustomError("wrong_key", "{words}", {"key": key, "words": words})


class Section(BaseModel):
    """Base of every section: strict, immutable, and documented by its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


class ModelSource(Section):
    """Pretrained weights: a local folder, or a repository of the model hub with its revision."""

    source: str = Field(min_length=1)
    revision: str | None = None
    subfolder: str | None = None
