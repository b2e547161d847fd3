"""Facts that code reads: fields here, labels for people and in stored states.

A label is said once, where the field is; to reword it, put the former one behind it, so that older states are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


def fact(label: str, *former: str) -> Any:
    """A field that people and states know as `label`; `former` labels are read too. None is not measured."""
    return dataclasses.field(default=None, metadata={"labels": (label, *former)})


class Facts:
    """Base of the dataclasses whose fields are all made by `fact`."""

    def shown(self) -> dict[str, Any]:
        """The facts by label."""
        return {field.metadata["labels"][0]: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def measured(self) -> dict[str, Any]:
        """The facts by label, without those that were not measured."""
        return {label: value for label, value in self.shown().items() if value is not None}

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Self:
        """The facts in a state, or in the metadata of a materialization; what it does not have is None."""
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return cls(
            **{
                field.name: next((facts[label] for label in field.metadata["labels"] if label in facts), None)
                for field in fields
            }
        )
