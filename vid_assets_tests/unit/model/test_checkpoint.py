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


def test_the_last_whole_step_folders_are_kept_and_the_best_and_no_damaged_one(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8, 10):
        folder = checkpoint.step_folder(tmp_path, step)
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(bytes(9))
        checkpoint.write_state(folder, {"step": step})
    (checkpoint.step_folder(tmp_path, 10) / "weights.safetensors").write_bytes(bytes(8))
    assert checkpoint.latest(tmp_path) == checkpoint.step_folder(tmp_path, 8)
    checkpoint.keep(tmp_path, 1, best=4)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000004", "step-00000008"]


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
