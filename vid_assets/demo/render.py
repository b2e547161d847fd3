"""Renders the demo footage into a folder: `python -m vid_assets.demo.render FOLDER`.

`labels.json` in that folder says what is known of each file, and the size and hash that each was rendered with; it is
how a second call sees that nothing is left to do. Files appear whole: each is written elsewhere and moved into place.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vid_assets.demo.catalogue import VERSION, Entry, entries

LABELS = "labels.json"

_CONVENTION = (
    "frames count from 0 in presentation order; a cut is the first frame of the new shot; spans are [first, last]; "
    "boxes are [x, y, width, height]"
)


def render(folder: str | Path) -> list[dict[str, Any]]:
    """Make sure that `folder` holds the demo footage, and return its labels in order of the file names.

    A label has the fields of `catalogue.Label`, and the `bytes` and `sha256` of the file. Files that are there
    unchanged are left alone; missing or different ones are rendered. Files of other names are not touched.
    """
    folder = Path(folder).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder)
    labels = []
    with tempfile.TemporaryDirectory(prefix=".rendering-", dir=folder.parent) as scratch:
        for entry in entries():
            path = folder / entry.label.file
            label = json.loads(json.dumps(dataclasses.asdict(entry.label)))
            if not path.is_file() or known.get(path.name) != label | _measure(path):
                _write(entry, folder, Path(scratch) / path.name)
            if entry.label.caption is not None:
                _put_text(Path(scratch), path.with_suffix(".txt"), entry.label.caption + "\n")
            labels.append(label | _measure(path))
        document = {"version": VERSION, "convention": _CONVENTION, "files": labels}
        _put_text(Path(scratch), folder / LABELS, json.dumps(document, indent=1) + "\n")
    return labels


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """The labels that an earlier call of the same version left, by file name."""
    try:
        document = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        return {label["file"]: label for label in document["files"]} if document["version"] == VERSION else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}  # not rendered yet, or by something else: render


def _measure(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write(entry: Entry, folder: Path, scratch: Path) -> None:
    if entry.write is None:
        assert entry.label.duplicate_of is not None, entry.label.file
        shutil.copyfile(folder / entry.label.duplicate_of, scratch)
    else:
        entry.write(scratch)
    os.replace(scratch, folder / entry.label.file)


def _put_text(scratch: Path, path: Path, text: str) -> None:
    """Write a text file unless it already says so."""
    if not path.is_file() or path.read_bytes() != text.encode():
        (scratch / path.name).write_bytes(text.encode())
        os.replace(scratch / path.name, path)


def main(arguments: list[str] | None = None) -> int:
    """Command line: render into the folder that is named, and say what lies there."""
    parser = argparse.ArgumentParser(prog="python -m vid_assets.demo.render", description="Render the demo footage.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    started = time.monotonic()
    labels = render(folder)
    size = sum(label["bytes"] for label in labels) / 1e6
    print(f"{folder}: {len(labels)} files, {size:.1f} MB, {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
