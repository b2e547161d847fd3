"""The house stands as its plan says: arrows point down, nothing goes in a circle, and little lies about."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from vid_assets_tests.architecture import (
    BELOW,
    LAYERS,
    LOOSE_MOST,
    PAGE,
    REPO,
    Arrow,
    arrows,
    drawn,
    exists,
    level,
    modules,
    room,
    rooms,
)


@pytest.fixture(scope="module")
def drawn_arrows() -> dict[str, list[Arrow]]:
    return {package: arrows(package) for package in BELOW}


@pytest.mark.parametrize("package", BELOW)
def test_every_import_of_ours_is_there(drawn_arrows, package):
    """Type checkers take a module that is missing for one without types."""
    assert [str(one) for one in drawn_arrows[package] if not exists(one.imported)] == []


@pytest.mark.parametrize("package", BELOW)
def test_no_package_imports_one_above_it(drawn_arrows, package):
    above = BELOW[: BELOW.index(package)]
    assert [str(one) for one in drawn_arrows[package] if one.imported.partition(".")[0] in above] == []


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_has_its_layer(package):
    assert rooms(package) == set(level(package))


@pytest.mark.parametrize("package", LAYERS)
def test_every_arrow_points_down(drawn_arrows, package):
    levels = level(package)
    wrong = []
    for one in drawn_arrows[package]:
        begin, end = room(one.importer), room(one.imported)
        if one.imported.partition(".")[0] != package or begin == end or "__init__" in (begin, end):
            continue
        if levels[begin] >= levels[end]:
            wrong.append(str(one))
    assert wrong == []


@pytest.mark.parametrize("package", BELOW)
def test_no_imports_go_in_a_circle(drawn_arrows, package):
    """Lazy ones and those for types alone included: whoever reads one file reads those that it names, and is done."""
    graph: dict[str, set[str]] = {}
    for one in drawn_arrows[package]:
        if one.importer != one.imported:
            graph.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


@pytest.mark.parametrize("package", LAYERS)
def test_few_files_lie_at_the_top(package):
    loose = [path.name for path in (REPO / package).glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= LOOSE_MOST, sorted(loose)


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_and_file_says_what_belongs_in_it(package):
    silent = [name for name, path in modules(package).items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_the_picture_of_the_layers_is_drawn_from_them():
    text = PAGE.read_text(encoding="utf-8")
    assert text == drawn(text), "run `python -m vid_assets_tests.architecture`"


def test_the_rooms_below_orchestration_know_no_dagster():
    above = {name for name, number in level("vid_assets").items() if number <= level("vid_assets")["orchestration"]}
    packages = [("vid_assets", rooms("vid_assets") - above), ("model", {room(name) for name in modules("model")})]
    for package, quiet in packages:
        for name, path in modules(package).items():
            if room(name) not in quiet:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [one for one in names if one.partition(".")[0] == "dagster"], path
