"""The additions of `docs/extending.md`, as they are written there: new files, and changes of files that are there."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from vid_assets_tests.architecture import BELOW, REPO

PAGE = REPO / "docs" / "extending.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.py)`")


@dataclass
class Addition:
    """What one section adds: whole files by path, and hunks of lines by path."""

    new: dict[str, str] = field(default_factory=dict)
    changed: dict[str, list[list[str]]] = field(default_factory=dict)


def additions() -> dict[str, Addition]:
    """The additions by the heading of their section. A block is of the file that was named last before it."""
    text = PAGE.read_text(encoding="utf-8")
    heads = list(_SECTION.finditer(text))
    found = {}
    for head, after in zip(heads, [*heads[1:], None]):
        section = text[head.end() : after.start() if after else None]
        found[head[1]] = _addition(section)
    return found


def _addition(section: str) -> Addition:
    addition, begin = Addition(), 0
    for block in _BLOCK.finditer(section):
        path = _FILE.findall(section[begin : block.start()])[-1]
        if block[1] == "python":
            addition.new[path] = block[2]
        else:
            addition.changed[path] = [hunk.strip("\n").split("\n") for hunk in block[2].split("@@\n")]
        begin = block.end()
    return addition


def copy_tree(folder: Path) -> None:
    """Copy all our packages into a folder."""
    for package in BELOW:
        shutil.copytree(REPO / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def apply(addition: Addition, folder: Path) -> None:
    """Make an addition in a copy of the tree; what it changes must be there, once."""
    for path, text in addition.new.items():
        assert not (folder / path).exists(), f"{path} is there already"
        (folder / path).write_text(text, encoding="utf-8")
    for path, hunks in addition.changed.items():
        text = (folder / path).read_text(encoding="utf-8")
        for hunk in hunks:
            old = "\n".join(line[1:] for line in hunk if line[:1] in (" ", "-"))
            new = "\n".join(line[1:] for line in hunk if line[:1] in (" ", "+"))
            assert text.count(old) == 1, f"{path} has {text.count(old)} times:\n{old}"
            text = text.replace(old, new)
        (folder / path).write_text(text, encoding="utf-8")
