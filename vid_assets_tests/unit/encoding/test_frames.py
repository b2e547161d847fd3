"""The frames of windows: one decode of each source for all its buckets, and rows of latents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.labelled.footage import FOOTAGE
from model.vaes.space import DTYPE_BYTES
from vid_assets.encoding import frames as frames_module
from vid_assets.encoding.content_key import latent_parts
from vid_assets.encoding.frames import Task, by_source, decoded
from vid_assets.encoding.rows import from_bytes, latent_row, to_bytes
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.threads import in_threads
from vid_assets.encoding.transform import fit_frames
from vid_assets.encoding.windows import Window
from vid_assets.footage.decode import Route, frames_on_screen
from vid_assets.footage.probe import probe
from vid_assets.footage.reader import DecodeError
from vid_assets_tests.unit.footage.reading import frame_times, read_frames
from vid_assets_tests.unit.footage.rendering import needs_footage

BUCKETS = [Bucket.parse(text) for text in ("1x32x48", "5x32x48@8", "9x64x96@12", "5x48x32@24")]


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is the one that was hashed."""
    monkeypatch.setattr("vid_assets.footage.opening.refuse_changed", lambda source: None)
    monkeypatch.setattr(frames_module, "refuse_changed", lambda source: None)


def parts_of(window: Window, posterior: str = "moments, unscaled", dtype: str = "float32") -> Any:
    video = {
        "video_id": "v", "kind": "video", "stream_index": 0, "rotation": 0, "is_mirrored": False, "sample_aspect": None,
        "is_interlaced": None, "color_transfer": None, "pix_fmt": "yuv420p",
    }  # fmt: skip
    return latent_parts(video, [0.0], window, None, "pyav", "hunyuan_video", "w", "{}", posterior, dtype, "1")


def tasks_of(path: Path, starts: dict[str, list[float]], route: Route, times: list[float]) -> list[Task]:
    video = {**vars(probe(str(path))), "kind": "video"}
    crop = (4, 2, video["width"] - 8, video["height"] - 4)
    return [
        Task(parts_of(window), window, {"uri": str(path)}, video, times, route, crop)
        for bucket in BUCKETS
        for number, start in enumerate(starts.get(bucket.name, []))
        for window in [Window(bucket, start, number)]
    ]


def alone(task: Task) -> np.ndarray:
    """The frames of one window, read for it alone."""
    path = task.source["uri"]
    found = read_frames(path, task.video, task.window.times_s, task.route, task.timestamps)
    return fit_frames(found, task.window.bucket.height, task.window.bucket.width, task.crop)


@pytest.mark.parametrize("route", ["decord", "pyav"])
def test_every_bucket_gets_its_frames_from_one_pass(clips, monkeypatch, route):
    path = clips / "one.mp4"
    times = frame_times(str(path), 0)
    starts = {"1x32x48": [0.5], "5x32x48@8": [0.0, 0.625, 1.25], "9x64x96@12": [0.5, 1.25], "5x48x32@24": [1.0]}
    tasks = tasks_of(path, starts, route, times)
    served: list[int] = []
    stream = frames_module.stream_frames

    def counted(*arguments: Any) -> Any:
        for number, picture in stream(*arguments):
            served.append(number)
            yield number, picture

    monkeypatch.setattr(frames_module, "stream_frames", counted)
    found = {id(task): frames for task, frames in decoded(tasks)}
    assert len(found) == len(tasks)
    for task in tasks:
        assert np.array_equal(found[id(task)], alone(task)), task.window
    needed = {n for task in tasks for n in frames_on_screen(np.asarray(times), task.window.times_s).tolist()}
    assert served == sorted(needed), "each frame once, in order, and no other"


def test_windows_come_as_soon_as_they_are_complete(clips):
    """So a long video is never held whole."""
    path = clips / "two.mp4"
    tasks = tasks_of(path, {"5x32x48@8": [0.0, 0.625, 1.25], "1x32x48": [0.7]}, "pyav", frame_times(str(path), 0))
    order = [task.window.start_s for task, _ in decoded(tasks)]
    assert order == [0.0, 0.7, 0.625, 1.25]


def test_a_frame_that_cannot_be_decoded_fails_its_own_windows_and_no_more_is_read_for_them(clips, monkeypatch):
    path = clips / "one.mp4"
    times = frame_times(str(path), 0)
    tasks = tasks_of(path, {"5x32x48@8": [0.0, 0.625, 1.25], "9x64x96@12": [1.25]}, "pyav", times)
    bad = int(frames_on_screen(np.asarray(times), tasks[1].window.times_s)[1])
    stream, served = frames_module.stream_frames, []

    def damaged(*arguments: Any) -> Any:
        for number, picture in stream(*arguments):
            served.append(number)
            yield number, DecodeError(str(path), "torn") if number == bad else picture

    monkeypatch.setattr(frames_module, "stream_frames", damaged)
    found = {id(task): frames for task, frames in decoded(tasks)}
    assert isinstance(found[id(tasks[1])], str) and "torn" in found[id(tasks[1])]
    for task in (tasks[0], tasks[2], tasks[3]):
        assert np.array_equal(found[id(task)], alone(task))
    after = set(frames_on_screen(np.asarray(times), tasks[1].window.times_s)[2:].tolist())
    assert not after & set(served)


@needs_footage
def test_windows_before_and_behind_damage_are_made():
    """Only those that need a damaged frame fail, each in words."""
    path = FOOTAGE / "odd/corrupted_tail.mp4"
    times = frame_times(str(path), 0)
    starts = [round(k * 5 / 24 + times[0], 6) for k in range(9)]
    tasks = tasks_of(path, {"5x48x32@24": starts}, "pyav", [*times, times[-1] + 0.04, times[-1] + 0.5])
    late = Window(BUCKETS[3], times[-1] + 0.45, 9)
    tasks.append(Task(parts_of(late), late, tasks[0].source, tasks[0].video, tasks[0].timestamps, "pyav", None))
    found = [frames for _, frames in decoded(tasks)]
    assert isinstance(found[-1], str) and "cannot be decoded" in found[-1]
    assert sum(isinstance(frames, np.ndarray) for frames in found) >= 7


def test_a_file_that_cannot_be_opened_fails_all_its_windows(tmp_path, clips):
    video = tmp_path / "gone.mp4"
    video.write_bytes((clips / "one.mp4").read_bytes())
    tasks = tasks_of(video, {"5x32x48@8": [0.0, 0.625]}, "pyav", frame_times(str(video), 0))
    video.write_bytes(b"nothing of a video")
    assert all("cannot be decoded" in frames for _, frames in decoded(tasks) if isinstance(frames, str))
    assert len(list(decoded(tasks))) == 2


def test_tasks_are_grouped_by_source_in_the_order_of_time(clips):
    times = frame_times(str(clips / "one.mp4"), 0)
    one = tasks_of(clips / "one.mp4", {"5x32x48@8": [1.25, 0.0]}, "pyav", times)
    two = tasks_of(clips / "two.mp4", {"5x32x48@8": [0.0]}, "pyav", times)
    groups = by_source([one[0], two[0], one[1]])
    assert [[task.window.start_s for task in group] for group in groups] == [[0.0, 1.25], [0.0]]


# --- threads


def test_threads_give_every_item_and_keep_the_order_of_each_source():
    sources = [[(source, item) for item in range(20)] for source in range(5)]
    found = list(in_threads(sources, threads=3, room=2))
    assert sorted(found) == sorted(item for source in sources for item in source)
    for source in sources:
        assert [item for item in found if item[0] == source[0][0]] == source


def test_threads_run_ahead_no_further_than_there_is_room():
    drawn = 0

    def source() -> Any:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    items = in_threads([source()], threads=1, room=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert drawn <= 6  # one taken, three waiting, one in hand, one to spare
    items.close()
    assert drawn <= 6


def test_what_a_source_raises_is_raised_and_ends_the_others():
    def broken() -> Any:
        yield 1
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        list(in_threads([broken(), range(10**9)], threads=2, room=1))


# --- what is stored


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-65000, 65000, width=32), min_size=1, max_size=30), st.sampled_from(sorted(DTYPE_BYTES)))
def test_stored_values_come_back_as_near_as_their_type_allows(values, dtype):
    array = np.array(values, np.float32)
    payload = to_bytes(array, dtype)
    assert len(payload) == DTYPE_BYTES[dtype] * len(values)
    step = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert np.all(np.abs(from_bytes(payload, dtype, array.shape) - array) <= step * np.abs(array) + 1e-7)


def test_bfloat16_is_rounded_as_torch_rounds_it():
    import torch

    values = np.random.default_rng(0).normal(0, 100, 4000).astype(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy().tobytes()
    assert to_bytes(values, "bfloat16") == expected


def test_the_posterior_mean_is_half_of_the_moments():
    moments = np.random.default_rng(0).normal(size=(4, 1, 2, 3)).astype(np.float32)
    window = Window(BUCKETS[1], 0.0, 0)
    both = latent_row(parts_of(window), moments)
    mean = latent_row(parts_of(window, "mean, unscaled"), moments)
    assert (both["shape"], mean["shape"]) == ([4, 1, 2, 3], [2, 1, 2, 3])
    assert both["latent"][: len(mean["latent"])] == mean["latent"]


@pytest.mark.parametrize(("dtype", "status"), [("float16", "failed"), ("bfloat16", "ok"), ("float32", "ok")])
def test_a_value_too_large_for_the_stored_type_is_a_failed_row_that_names_the_setting(dtype, status):
    moments = np.full((4, 1, 2, 3), 70_000, np.float32)
    row = latent_row(parts_of(Window(BUCKETS[1], 0.0, 0), dtype=dtype), moments)
    assert row["status"] == status
    if status == "failed":
        assert "encoding.dtype float16" in row["error"] and row["latent"] is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_a_failed_row(value):
    moments = np.zeros((4, 1, 2, 3), np.float32)
    moments[0, 0, 0, 0] = value
    row = latent_row(parts_of(Window(BUCKETS[1], 0.0, 0)), moments)
    assert row["status"] == "failed" and "not finite (4.2% of the latent)" in row["error"]
