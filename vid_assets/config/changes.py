"""Other values for limits: as `RULE=VALUE` on the command line, and written into the configuration file.

Only limits that need no footage can be changed this way: the sections of `TUNABLE`. A rule of the policy goes by its
own name, a key of another section as `section.key`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vid_assets.config import Config
from vid_assets.section import ConfigError, nearest

#: Sections whose values are compared with what is stored: changing them opens no video.
TUNABLE = ("policy", "duplicates", "windows")
_OFF = {"off", "null", "none", "~"}

#: (section, key) -> value.
Changes = dict[tuple[str, str], Any]


def parse_changes(assignments: Sequence[str]) -> Changes:
    """`RULE=VALUE ...` as changes; `off` switches a rule off. Raises `ConfigError`."""
    changes: Changes = {}
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator or not value.strip():
            raise ConfigError(f"{text!r}: write RULE=VALUE, such as sharpness_min=80, or RULE=off")
        place = _place(name.strip())
        if place in changes:
            raise ConfigError(f"{name.strip()} is given twice")
        changes[place] = None if value.strip().lower() in _OFF else value.strip()
    return changes


def _place(name: str) -> tuple[str, str]:
    section, _, key = name.rpartition(".")
    section = section or "policy"
    known = {
        (key if one == "policy" else f"{one}.{key}"): (one, key)
        for one in TUNABLE
        for key in Config.model_fields[one].annotation.model_fields  # type: ignore[union-attr]
    }
    if (section, key) in known.values():
        return section, key
    raise ConfigError(f"{name}: no such rule{nearest(name, list(known))} There are: {', '.join(known)}")


def changed(config: Config, changes: Changes) -> Config:
    """`config` with other limits. Raises `ConfigError` naming the key and what is allowed."""
    sections = {}
    for section in TUNABLE:
        values = {key: value for (one, key), value in changes.items() if one == section}
        current = getattr(config, section)
        try:
            sections[section] = type(current).model_validate(current.model_dump() | values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{section}.{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None
    return config.model_copy(update=sections)


def write_changes(path: Path, values: Mapping[tuple[str, str], Any]) -> None:
    """Set values in the configuration file, keeping its comments and its order; all or nothing.

    Raises `ConfigError` where the file would not be valid any more, and leaves it as it was.
    """
    import shutil

    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    from vid_assets.config.file import load_config

    text = path.read_text(encoding="utf-8")
    _, indent, dash = load_yaml_guess_indent(text)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # lines stay as they are
    yaml.indent(mapping=2, sequence=indent or 2, offset=dash or 0)
    data = yaml.load(text)
    for (section, key), value in values.items():
        data.setdefault(section, {})[key] = value
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yaml.dump(data, file)
        load_config(draft)
        shutil.copymode(path, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
