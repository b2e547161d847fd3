"""The backend `ray` on this machine: the keys of `local`, and its values."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_assets.encoding.backend import LocalBackend
from vid_assets.encoding.content_key import latent_parts
from vid_assets.encoding.frames import Task
from vid_assets.encoding.ray_backend import RayBackend
from vid_assets.encoding.rows import from_bytes
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.vae import LazyVae
from vid_assets.encoding.windows import Window
from vid_assets.footage.listing import version_now
from vid_assets.footage.probe import probe
from vid_assets_tests.unit.footage.reading import frame_times

BUCKETS = [Bucket.parse(text) for text in ("5x32x48@8", "1x32x48")]


def tasks_of(path: Path, version: str) -> list[Task]:
    video = {**vars(probe(str(path))), "kind": "video", "video_id": path.name}
    source = {"uri": str(path), "video_id": path.name, "hashed_version": version, "ingest_batch": "b00001"}
    times, found = frame_times(str(path), 0), []
    for bucket in BUCKETS:
        for number in range(3):
            window = Window(bucket, number * 0.625, number)
            parts = latent_parts(
                video, times, window, None, "pyav", "hunyuan_video", "w", "{}", "moments, unscaled", "float32", "2.1"
            )
            found.append(Task(parts, window, source, video, times, "pyav", None))
    return found


def rows(encoder: Any, tasks: list[Task]) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for batch in encoder.batches(tasks) for row in batch}


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_ray_gives_the_keys_and_values_of_local(models, clips, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    vae = LazyVae(str(models / "tiny-vae"), "hunyuan_video", threads=1)
    tasks = [
        task
        for name in ("one", "two")
        for task in tasks_of(clips / f"{name}.mp4", version_now(str(clips / f"{name}.mp4")))
    ]
    ours = RayBackend(vae.encode, 2, 1, actors=1, on_gpu=False)
    found = rows(ours, tasks)
    local = rows(LocalBackend(vae.encode, 3, 1), tasks)
    assert found.keys() == local.keys() == {task.parts.sample_id for task in tasks}
    for name, row in found.items():
        values, expected = (from_bytes(one["latent"], "float32", one["shape"]) for one in (row, local[name]))
        assert row["status"] == "ok" and np.abs(values - expected).max() <= 1e-4


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    import sys

    from vid_assets.section import ConfigError

    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'vid_assets\[ray\]'"):
        RayBackend(lambda frames: frames, 1, 1, None)


def test_the_windows_of_a_changed_file_fail_with_the_reason_as_they_do_with_local(clips):
    found = rows(LocalBackend(lambda frames: frames, 1, 1), tasks_of(clips / "one.mp4", "another version"))
    assert {row["status"] for row in found.values()} == {"failed"}
    assert all("changed since it was scanned" in row["error"] for row in found.values())
