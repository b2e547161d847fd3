"""Small JSON files on the local disk that remember what took long to find out; what is damaged is found out again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vid_assets.store.place import Files


def recall(path: Path) -> Any:
    """What a file remembers, None where it is not there or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def remember(path: Path, value: Any) -> None:
    """Write what is to be remembered, whole or not at all."""
    Files(str(path.parent)).write(path.name, json.dumps(value, indent=1, sort_keys=True).encode())


def remembered_hash(path: Path, stamp: Mapping[str, str], make: Callable[[], str], again: bool = False) -> str:
    """The hash that `path` remembers for `stamp`; made, and remembered, where it is of another stamp, or `again`."""
    kept = recall(path)
    if again or not isinstance(kept, dict) or any(kept.get(name) != value for name, value in stamp.items()):
        kept = {**stamp, "hash": make()}
        remember(path, kept)
    return kept["hash"]
