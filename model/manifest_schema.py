"""The rules that a JSON value is checked by, each of which says in words what it allows. Imports nothing heavy.

A rule is a `Leaf` for one value, a dict of rules by key for an object with these keys, or `{str: rule}` for an object
with any keys.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Leaf:
    """What one value may be: `inside(value, path)` gives the problems, `allowed` says what there should be."""

    allowed: str
    inside: Callable[[Any, str], list[str]]


Rule = Leaf | Mapping[Any, Any]


def _plain(allowed: str, holds: Callable[[Any], bool]) -> Leaf:
    return Leaf(allowed, lambda value, path: [] if holds(value) else [_wrong(value, path, allowed)])


def _wrong(value: Any, path: str, allowed: str) -> str:
    return f"{path} is {value!r}; it must be {allowed}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def text() -> Leaf:
    """Any text but the empty one."""
    return _plain("a text", lambda value: isinstance(value, str) and value != "")


def truth() -> Leaf:
    """True or false."""
    return _plain("true or false", lambda value: isinstance(value, bool))


def exactly(wanted: int) -> Leaf:
    """One number and no other."""
    return _plain(str(wanted), lambda value: value == wanted and not isinstance(value, bool))


def one_of(*names: str) -> Leaf:
    """One of some names."""
    return _plain(" or ".join(names), lambda value: isinstance(value, str) and value in names)


def whole(at_least: int | None = None) -> Leaf:
    """A whole number."""
    allowed = "a whole number" + (f" of at least {at_least}" if at_least is not None else "")
    low = -math.inf if at_least is None else at_least
    return _plain(allowed, lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low)


def number(above: float | None = None, at_least: float | None = None) -> Leaf:
    """A finite number."""
    allowed = "a number" + (f" above {above}" if above is not None else "")
    allowed += f" of at least {at_least}" if at_least is not None else ""
    return _plain(
        allowed,
        lambda value: (
            _is_number(value) and (above is None or value > above) and (at_least is None or value >= at_least)
        ),
    )


def fraction() -> Leaf:
    """A number from 0 to 1."""
    return _plain("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)


def some(rule: Rule) -> Leaf:
    """What the rule allows, or null."""
    return Leaf(
        f"{_allowed(rule)}, or null", lambda value, path: [] if value is None else problems(value, rule, path, True)
    )


def any_of(*rules: Rule) -> Leaf:
    """What one of the rules allows; an object is checked by the rule for objects."""
    allowed = ", or ".join(_allowed(rule) for rule in rules)

    def inside(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            return next(problems(value, rule, path, True) for rule in rules if isinstance(rule, Mapping))
        return [] if any(not problems(value, rule, path) for rule in rules) else [_wrong(value, path, allowed)]

    return Leaf(allowed, inside)


def list_of(rule: Rule, length: int | None = None) -> Leaf:
    """A list, of `length` items where it is given."""
    allowed = "a list" + (f" of {length}" if length else "") + f", each {_allowed(rule)}"

    def inside(value: Any, path: str) -> list[str]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            return [_wrong(value, path, allowed)]
        return [line for place, item in enumerate(value) for line in problems(item, rule, f"{path}[{place}]")]

    return Leaf(allowed, inside)


def by_name(*names: str) -> Leaf:
    """An object whose `name` is one of `names`; what else it holds is checked by whoever is named."""
    return Leaf("an object with a name", lambda value, path: problems(value, {"name": one_of(*names)}, path))


def problems(value: Any, rule: Rule, path: str = "", closed: bool = False) -> list[str]:
    """What is wrong with a value, a line each.

    Args:
        value: parsed JSON.
        rule: what it is to be.
        path: its name in the lines, such as `recipe.lr`; empty for the whole document.
        closed: whether a key that the rule does not name is a problem, at any depth.
    """
    if isinstance(rule, Leaf):
        return rule.inside(value, path)
    if not isinstance(value, dict):
        return [f"{path or 'the whole'} is {value!r}; it must be an object"]
    if str in rule:
        return [line for key, item in value.items() for line in problems(item, rule[str], f"{path}.{key}", closed)]
    lines = []
    for key, expected in rule.items():
        where = f"{path}.{key}" if path else key
        lines += problems(value[key], expected, where, closed) if key in value else [f"{where} is missing"]
    for key in sorted(value.keys() - rule.keys()) if closed else ():
        near = difflib.get_close_matches(key, [str(known) for known in rule], n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(map(str, rule))}"
        lines.append(f"{f'{path}.{key}' if path else key} is not known; {hint}")
    return lines


def _allowed(rule: Rule) -> str:
    if isinstance(rule, Leaf):
        return rule.allowed
    return f"an object of values, each {_allowed(rule[str])}" if str in rule else f"an object of {', '.join(rule)}"
