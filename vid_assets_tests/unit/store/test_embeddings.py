"""Rows of embeddings: what a failing encoder leaves behind, and what the next run does about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vid_assets.assets.encode import embeddings
from vid_assets.project import Project
from vid_assets_tests.unit.test_definitions import project_of

KEYS = [f"k{index:02d}" for index in range(20)]


def encoder(breaks: dict[str, Exception], calls: list[list[str]]) -> Callable[[list[str]], list[embeddings.Made]]:
    """Encodes keys as states of their number; fails as a whole where one of `breaks` is among them."""

    def encode(keys: list[str]) -> list[embeddings.Made]:
        calls.append(keys)
        for key in keys:
            if key in breaks:
                raise breaks[key]
        return [embeddings.Made(torch.full((2, 3), float(key[1:]), dtype=torch.bfloat16), 0) for key in keys]

    return encode


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_of(tmp_path)


def run(
    project: Project, breaks: dict[str, Exception], calls: list[list[str]], keys: list[str] = KEYS
) -> embeddings.Tally:
    def make(misses: list[str]) -> object:
        return embeddings.rows("text", "hash", misses, encoder(breaks, calls))

    return embeddings.complete(project.store, keys, make, flush_rows=2, progress=lambda told: None)  # type: ignore[arg-type]


def test_one_bad_text_fails_alone_and_is_tried_again(project):
    calls: list[list[str]] = []
    tally = run(project, {"k03": ValueError("no token\nand more")}, calls)
    assert tally.computed == 20
    failed = {key: row["error"] for key, row in tally.rows.items() if row["status"] != "ok"}
    assert failed == {"k03": "the encoder failed: no token"}
    assert embeddings.output([tally], {}).retry
    calls.clear()
    again = run(project, {}, calls)
    assert (again.computed, calls) == (1, [["k03"]])
    assert embeddings.output([again], {}).data_version != embeddings.output([tally], {}).data_version
    assert run(project, {}, calls).computed == 0


def test_what_memory_does_not_hold_together_is_encoded_alone(project):
    calls: list[list[str]] = []

    def encode(keys: list[str]) -> list[embeddings.Made]:
        calls.append(keys)
        if len(keys) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [embeddings.Made(torch.zeros(1, 3))]

    rows = list(embeddings.rows("image", "hash", KEYS[:4], encode))
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert [len(keys) for keys in calls] == [4, 1, 1, 1, 1]


def test_a_killed_run_keeps_what_it_had_written(project):
    class KilledError(BaseException):
        pass

    calls: list[list[str]] = []
    with pytest.raises(KilledError):
        run(project, {"k17": KilledError()}, calls)
    kept = len(embeddings.stored(project.store, KEYS))
    assert 0 < kept <= 16
    assert run(project, {}, calls).computed == 20 - kept


def test_states_are_stored_as_the_encoder_gave_them(project):
    tally = run(project, {}, [], KEYS[:2])
    assert tally.bytes == 2 * 2 * 3 * 2
    for row, payload in project.store.read_blobs("embeddings", "true", "embedding"):
        states = torch.frombuffer(bytearray(payload), dtype=torch.bfloat16).reshape(row["tokens"], row["dim"])
        assert (states == float(row["key"][1:])).all() and row["dtype"] == "bfloat16"
