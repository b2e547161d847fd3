"""Statistics of test files; those of real footage are measured once for all tests."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.groups import GROUPS, GroupStats
from vid_assets.curation.statistics import measure
from vid_assets.footage.probe import probe


def header(path: str | Path) -> dict[str, Any]:
    """What a row of the table `videos` says of the file, and its size."""
    return vars(probe(str(path))) | {"size_bytes": os.path.getsize(path)}


def measured(path: str | Path, groups: tuple[str, ...] = tuple(GROUPS)) -> dict[str, GroupStats]:
    """The asked groups of a file; all groups, from a cache, of real footage."""
    if Path(path).is_relative_to(FOOTAGE):
        return _real(str(path))
    return measure(str(path), header(path), groups)


@functools.cache
def _real(path: str) -> dict[str, GroupStats]:
    return measure(path, header(path), GROUPS)
