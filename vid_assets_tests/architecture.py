"""The layers of the two packages: what stands above what, and the arrows that their imports draw.

`LAYERS` is the one list. A test holds every import against it, lazy ones and those by name too, and the picture in
`docs/architecture.md` is drawn from it, in the words of each room's own docstring:

    python -m vid_assets_tests.architecture
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "docs" / "architecture.md"
#: Package -> its rooms (a folder, or a file at its top), those above first. A room imports from those below it alone;
#: rooms of one layer know nothing of one another.
LAYERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "vid_assets": (
        ("cli", "definitions", "demo"),
        ("commands",),
        ("orchestration",),
        ("reports",),
        ("home",),
        ("assets",),
        ("project",),
        ("config",),
        ("store", "encoding"),
        ("curation",),
        ("footage",),
        ("views", "section", "digests"),
    ),
    "model": (
        ("train", "export", "tiny"),
        ("training",),
        ("evaluation", "memory"),
        ("denoisers", "encoders"),
        ("data",),
        ("manifest", "checkpoint"),
        ("recipe", "vaes"),
        ("objectives", "weights", "compute"),
        ("errors",),
    ),
}
#: Packages that stand above others as a whole.
BELOW = ("vid_assets_tests", "benchmarks", "vid_assets", "model")
#: Files at the top of a package, beside its `__init__.py`.
LOOSE_MOST = 8
#: Modules that import what their command line names.
TOLD = ("model.train",)


@dataclass(frozen=True)
class Arrow:
    """An import of one of our modules by another; `line` is where it stands."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted((REPO / package).rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(package: str) -> list[Arrow]:
    """Every import of our own modules in a package: at the top, inside functions, for types alone, and by name."""
    return [arrow for name, path in modules(package).items() for arrow in _arrows(name, path)]


def _arrows(importer: str, path: Path) -> Iterator[Arrow]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if importer in TOLD and isinstance(node, ast.Call):
            continue
        for imported in _imported(node):
            if imported.partition(".")[0] in BELOW:
                yield Arrow(importer, imported, getattr(node, "lineno", 0))


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        return [_module(node.module or "", alias.name) for alias in node.names]
    if isinstance(node, ast.Call) and _is_by_name(node.func) and node.args:
        return [_begin(node.args[0])]
    return []


def _is_by_name(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__", "run_module")


def _begin(name: ast.expr) -> str:
    """The module that a name means, as far as it is written out: of `f"model.vaes.{family}"` it is `model.vaes`."""
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return name.value
    if isinstance(name, ast.JoinedStr) and name.values and isinstance(name.values[0], ast.Constant):
        return str(name.values[0].value).rstrip(".")
    raise AssertionError(f"line {name.lineno}: an import by a name that is nowhere written out")


def _module(module: str, name: str) -> str:
    """`from module import name` as the module that is meant."""
    path = REPO.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file() else module


def exists(name: str) -> bool:
    """Whether one of our modules is there."""
    path = REPO.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(module: str) -> str:
    """The room of a module; of a package itself, `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def level(package: str) -> dict[str, int]:
    """Room -> its layer, 0 on top."""
    return {name: number for number, layer in enumerate(LAYERS[package]) for name in layer}


def rooms(package: str) -> set[str]:
    """The rooms that are there."""
    return {room(name) for name in modules(package)} - {"__init__"}


def picture(package: str) -> str:
    """The layers of a package as a block of text: each room with the first sentence of its own docstring."""
    names = [name for layer in LAYERS[package] for name in layer]
    width = max(map(len, names)) + 1
    lines: list[str] = []
    for layer in LAYERS[package]:
        lines += ["   |"] if lines else []
        for name in layer:
            shown = f"{name}/" if (REPO / package / name).is_dir() else name
            lines.append(f"{shown:{width}}  {_about(package, name)}")
    return "\n".join(["```text", *lines, "```"])


def _about(package: str, name: str) -> str:
    path = REPO / package / name
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    first = " ".join(doc.split("\n\n")[0].split())
    sentence = first.partition(". ")[0].rstrip(".")
    return sentence.removeprefix(f"`{name}`: ")


def drawn(text: str) -> str:
    """The page with its pictures as they should be."""
    for package in LAYERS:
        begin, end = f"<!-- layers of {package} -->", f"<!-- end of {package} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{picture(package)}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
