"""What `model/` may know, and what importing it may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import model

FILES = sorted(Path(model.__file__).parent.rglob("*.py"))
LIGHT = (
    *("weights", "manifest", "checkpoint", "train", "vaes.base", "vaes.backend", "encoders.text", "tiny.models"),
    *("data.order", "evaluation.evaluate", "objectives", "compute.numerics", "vaes", "denoisers", "recipe"),
)


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_model_knows_neither_the_orchestrator_nor_the_assets(path: Path) -> None:
    assert not imported_names(path) & {"dagster", "dagster_pipes", "vid_assets", "vid_assets_tests"}


def test_constants_and_command_line_are_read_without_torch() -> None:
    code = (
        f"import sys; import {', '.join(f'model.{name}' for name in LIGHT)}; "
        "print(sorted({'torch', 'diffusers', 'transformers', 'lance', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
