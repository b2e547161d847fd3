"""What commands print, as they print it: numbers, tables, how long work goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any


def size(count: int) -> str:
    """A number of bytes as people write it."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def number(value: Any) -> str:
    """A limit as people write it; None is a rule that is off."""
    if value is None:
        return "off"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: the first column to the left, all others to the right. A row may be shorter."""
    widths = [max(len(row[column]) for row in (header, *rows) if column < len(row)) for column in range(len(header))]
    for first, *rest in (header, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]
        yield "  ".join(cells).rstrip()


def tell(text: str) -> None:
    """Say how the work goes on, where it is not taken for the answer."""
    print(text, file=sys.stderr)
