"""Every key of the configuration with its default and what is allowed, as `docs/configuration.md` lists them.

Drawn from the sections themselves, so that a key is described where it is declared:

    python -m vid_assets_tests.configuration
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from model.denoisers import PRESETS
from model.objectives import OBJECTIVES
from vid_assets.config import Config
from vid_assets_tests.architecture import REPO

PAGE = REPO / "docs" / "configuration.md"
_HEAD = """# Configuration

One YAML file, which `VID_ASSETS_CONFIG` names. A key that is not here is an error, as is a value that is not allowed;
both name what is. `${NAME}` is a variable of the environment, and a relative path starts at the file's own folder.
Sections and keys that are left out have their defaults; *required* ones have none. `[]` is an item of a list, and
`<name>` a name of yours.

*Drawn from the declarations by `python -m vid_assets_tests.configuration`.*
"""
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


def page() -> str:
    """The whole page."""
    schema = Config.model_json_schema()
    blocks = [_HEAD]
    for name in schema["properties"]:
        blocks += _section(schema, name, schema["properties"][name], name in schema["required"])
        if name == "experiments":
            blocks += _objectives()
    return "\n".join(blocks)


def _objectives() -> Iterator[str]:
    """The keys of each objective; a preset takes the one that its weights were trained with."""
    for name, objective in OBJECTIVES.items():
        of_presets = [preset for preset, one in PRESETS.items() if one.objective.name == name]
        schema = objective.settings_class.model_json_schema()
        yield from _section(schema, f"experiments.<name>.objective, {name}", schema, False)
        yield f"Of {', '.join(f'`{preset}`' for preset in of_presets)}.\n"


def _section(schema: Mapping[str, Any], path: str, given: Mapping[str, Any], required: bool) -> Iterator[str]:
    """The table of a section, then those of the sections inside it."""
    section, path = _found(schema, given, path)
    absent = "null" if "default" in given and given["default"] is None else None
    note = " Required." if required else f" Without it: {absent}." if absent else ""
    yield f"## {path}\n\n{_words(section['description'])}{note}\n"
    rows, inside = [], []
    needs = section.get("required", ())
    for name, one in sorted(section["properties"].items(), key=lambda item: item[0] not in needs):
        if _is_section(schema, one):
            inside.append((f"{path}.{name}", one, name in needs))
        else:
            default = "*required*" if name in needs else f"`{json.dumps(one.get('default'))}`"
            rows.append(f"| `{name}` | {default} | {_allowed(schema, one)} | {_words(one.get('description', ''))} |")
    if rows:
        yield "\n".join(["| key | default | allowed | |", "|---|---|---|---|", *rows, ""])
    for inner, one, needed in inside:
        yield from _section(schema, inner, one, needed)


def _found(schema: Mapping[str, Any], given: Mapping[str, Any], path: str) -> tuple[Mapping[str, Any], str]:
    """The section that a key holds, one or many of, and how its keys are written."""
    if given is schema:
        return schema, path
    if "$ref" in given:
        return schema["$defs"][given["$ref"].rpartition("/")[2]], path
    if "items" in given:
        return _found(schema, given["items"], f"{path}[]")
    if "anyOf" in given:
        return _found(schema, next(one for one in given["anyOf"] if one.get("type") != "null"), path)
    (inner,) = given["patternProperties"].values() if "patternProperties" in given else [given["additionalProperties"]]
    return _found(schema, inner, f"{path}.<name>")


def _is_section(schema: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return "$ref" in given or any("$ref" in one for one in given.get("anyOf", ()))


def _allowed(schema: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What a key takes, in words."""
    for several in ("anyOf", "oneOf"):
        if several in given:
            return " or ".join(_allowed(schema, one) for one in given[several])
    if "enum" in given:
        return ", ".join(f"`{value}`" for value in given["enum"])
    if "const" in given:
        return f"`{given['const']}`"
    kind = given.get("type")
    if kind == "array":
        inner = given.get("prefixItems") or [given.get("items", {})]
        return f"a list of: {', '.join(dict.fromkeys(_allowed(schema, one) for one in inner))}"
    if kind == "object":
        inner = given.get("additionalProperties")
        return f"a mapping to: {_allowed(schema, inner)}" if isinstance(inner, Mapping) and inner else "a mapping"
    words = [_TYPES.get(str(kind), "")]
    words += [f"{how} {given[bound]}" for bound, how in _BOUNDS.items() if bound in given]
    return ", ".join(words)


def _words(text: str) -> str:
    """Text as it stands in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
