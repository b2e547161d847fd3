"""The encoding process is killed at twenty random moments; what is left goes on to the table of an undisturbed run."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from vid_assets.demo import encode, scenes
from vid_assets.project import Project
from vid_assets_tests.assets.curated import curate
from vid_assets_tests.assets.encoding_process import start
from vid_assets_tests.harness import Home

KILLS, FLUSH = 20, 3
#: Batch 1 and one thread: then latents are equal bit for bit.
ENCODING = {"batch_size": 1, "flush_rows": FLUSH, "threads": 1, "decoders": 1, "audit": 1}


def logged(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def table(project: Project) -> dict[str, tuple[Any, ...]]:
    """What the table of latents holds, by key."""
    columns = ["sample_id", "status", "error", "shape", "dtype", "checksum"]
    return {row["sample_id"]: tuple(row.values()) for row in project.store.read("latents", columns=columns)}


def run(project: Project, log: Path) -> None:
    process = start(project, "b00001", log)
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Home:
    """A home with two clips of 11 s up to its verdicts."""
    home = Home(
        tmp_path_factory.mktemp("killed"),
        models,
        encoding=ENCODING,
        stages=[{"name": "one", "buckets": ["5x32x48@12", "9x32x48@12"], "steps": 1}],
    )
    for seed in range(2):
        encode.write_video(home.footage / f"{seed}.mp4", scenes.moving_shapes(seed, (96, 64), 132, 12), 12, "h264")
    curate(home.project)
    return home


@pytest.fixture
def copy(curated: Home, tmp_path: Path) -> Project:
    """The same home in another folder, nothing encoded."""
    shutil.copytree(curated.project.home, tmp_path / "home")
    return Project(curated.project.config, str(tmp_path / "home"))


def test_killed_at_twenty_random_moments(curated: Home, copy: Project, tmp_path: Path):
    run(curated.project, tmp_path / "undisturbed.log")
    expected = table(curated.project)
    assert len(expected) > KILLS * FLUSH, "a kill in the middle needs something left to do"

    chance, log = random.Random(time.time_ns()), tmp_path / "killed.log"
    moments = []
    for _ in range(KILLS):
        before, already = set(table(copy)), len(logged(log))
        process = start(copy, "b00001", log)
        wanted, wait = chance.randint(0, 4), chance.uniform(0, 0.1)
        moments.append((wanted, round(wait, 4)))
        deadline = time.monotonic() + 60
        while len(logged(log)) < already + wanted and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        process.join(30)
        made, there = set(logged(log)[already:]), set(table(copy))
        assert before <= there, f"what was written is lost; killed after {moments}"
        assert not made & before, f"a latent that was there was made again; killed after {moments}"
        assert len(made - there) <= FLUSH, f"more than a flush is lost; killed after {moments}"
    run(copy, log)
    assert table(copy) == expected, f"killed after {moments}"
    remade = len(logged(log)) - len(set(logged(log)))
    assert remade <= KILLS * FLUSH
    assert len({moment for moment, _ in moments}) > 1
    samples = [project.store.read("samples") for project in (curated.project, copy)]
    assert samples[0] == samples[1] and len(samples[0]) == len(expected)
