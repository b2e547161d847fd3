"""What every section of the configuration is built on: its strictness, its common types, its error, and its parts.

The ground floor: sections stand beside the code that reads them, and `config` assembles them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from model.errors import UserError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(UserError, ValueError):
    """The configuration file cannot be used; the message names each key and what is allowed there."""


def nearest(name: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no allowed name resembles `name`."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_key(key: str, allowed: Sequence[str]) -> PydanticCustomError:
    """The error for a key that is not there, for validators that read a mapping themselves."""
    return wrong_key(key, f"unknown key{nearest(key, allowed) or '.'} Allowed here: {', '.join(allowed)}")


def wrong_key(key: str, words: str) -> PydanticCustomError:
    """The error for one key of a mapping that a validator reads itself; `config.file` adds it to the path."""
    return PydanticCustomError("wrong_key", "{words}", {"key": key, "words": words})


class Section(BaseModel):
    """Base of every section: strict, immutable, and documented by its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True, defer_build=True)


class ModelSource(Section):
    """Pretrained weights: a local folder, or a repository of the model hub with its revision."""

    source: str = Field(min_length=1)
    revision: str | None = None
    subfolder: str | None = None


S = TypeVar("S", bound=Section)


class _Part:
    """Some keys of a section; any other is an error."""

    def __init__(self, section: Section, names: tuple[str, ...]) -> None:
        self._section, self._names = section, names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._names:
            kind = type(self._section).__name__
            raise AttributeError(f"{name} is no declared part of {kind}; declared are {', '.join(self._names)}")
        return getattr(self._section, name)

    def dumped(self) -> dict[str, Any]:
        """The keys with their values, as JSON holds them."""
        return self._section.model_dump(mode="json", include=set(self._names))


def part(section: S, *names: str) -> S:
    """`section` as one that has the keys `names` alone: what an asset declares is all that its work can read."""
    unknown = set(names) - set(type(section).model_fields)
    assert not unknown, f"{type(section).__name__} has no {', '.join(sorted(unknown))}"
    return cast("S", _Part(section, names))


def plain(value: Any) -> Any:
    """Settings as JSON holds them: sections and parts of them as their keys and values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, _Part):
        return value.dumped()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
