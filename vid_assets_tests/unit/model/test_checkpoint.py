"""Folders that are whole or not there, and one writer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import checkpoint


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with (
        checkpoint.exclusive(tmp_path),
        pytest.raises(checkpoint.CheckpointError, match="another process"),
        checkpoint.exclusive(tmp_path, patience_s=0),
    ):
        pass
    with checkpoint.exclusive(tmp_path, patience_s=0):
        pass


def test_an_atomic_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), checkpoint.atomic_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with checkpoint.atomic_folder(tmp_path / "a", replace=True) as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "a" / "file").read_text() == "two"
    with pytest.raises(checkpoint.CheckpointError, match="already exists"), checkpoint.atomic_folder(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
