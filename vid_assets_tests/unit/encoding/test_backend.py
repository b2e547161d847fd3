"""The backend `local`: batches of one shape, decoded ahead; what fails becomes a row."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from vid_assets.encoding import backend as backend_module
from vid_assets.encoding.backend import LocalBackend
from vid_assets.encoding.content_key import latent_parts
from vid_assets.encoding.frames import Task
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.vae import LazyVae, VaeNotLoadedError
from vid_assets.encoding.windows import Window

BUCKETS = [Bucket.parse(text) for text in ("5x32x48@8", "1x32x48")]
VIDEO = {
    "video_id": "v", "kind": "video", "stream_index": 0, "rotation": 0, "is_mirrored": False, "sample_aspect": None,
        "is_interlaced": None, "color_transfer": None, "pix_fmt": "yuv420p",
}  # fmt: skip


def tasks(count: int, folder: str = "/here", broken: int | None = None) -> list[Task]:
    """Windows in two buckets, of which one may be undecodable; the frames' value is the window's number."""
    found = []
    for number in range(count):
        window = Window(BUCKETS[number % 2], float(number), number)
        parts = latent_parts(
            VIDEO, [0.0], window, None, "pyav", "hunyuan_video", "w", "{}", "moments, unscaled", "float32", "1"
        )
        name = "broken" if number == broken else f"file{number // 4}"
        found.append(Task(parts, window, {"uri": f"{folder}/{name}.mp4"}, VIDEO, [0.0], "pyav", None))
    return found


def encode(frames: np.ndarray) -> np.ndarray:
    """Moments that show which frames went in."""
    mean = frames.astype(np.float32).mean(axis=(1, 2, 3, 4))
    return np.broadcast_to(mean[:, None, None, None, None], (len(frames), 4, 1, 2, 3)).copy()


@pytest.fixture(autouse=True)
def frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(group: list[Task]) -> Any:
        for task in group:
            if "broken" in task.source["uri"]:
                yield task, "cannot be decoded: bad data"
            else:
                bucket = task.window.bucket
                yield task, np.full((bucket.frames, bucket.height, bucket.width, 3), task.window.index, np.uint8)

    monkeypatch.setattr(backend_module, "decoded", decoded)


def rows(encoder: LocalBackend, asked: list[Task]) -> dict[float, dict[str, Any]]:
    """The rows by window, each once."""
    made = [row for batch in encoder.batches(asked) for row in batch]
    assert sorted(row["sample_id"] for row in made) == sorted(task.parts.sample_id for task in asked)
    return {row["start_s"]: row for row in made}


@pytest.mark.parametrize(("batch_size", "decoders"), [(1, 1), (2, 3), (3, 1), (100, 2)])
def test_neither_batches_nor_threads_nor_the_place_change_a_row(batch_size, decoders):
    def kept(folder: str, size: int, threads: int) -> dict[float, Any]:
        made = rows(LocalBackend(encode, size, threads), tasks(14, folder))
        return {start: (row["sample_id"], row["checksum"], row["latent"]) for start, row in made.items()}

    assert kept("/here", batch_size, decoders) == kept("/elsewhere", 1, 1)


def test_batches_have_one_shape_and_at_most_the_size_asked_for():
    shapes: list[tuple[int, ...]] = []

    def watched(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return encode(batch)

    rows(LocalBackend(watched, 3), tasks(14))
    assert sorted(shapes) == sorted([(n, f, 32, 48, 3) for f in (1, 5) for n in (3, 3, 1)])


def test_the_next_windows_are_decoded_while_the_vae_works():
    """The VAE waits until a window of the next batch is asked of the decoder: it is, in another thread."""
    asked = threading.Event()
    plain = backend_module.decoded

    def decoded(group: list[Task]) -> Any:
        for task, frames in plain(group):
            if task.window.index >= 4:
                asked.set()
            yield task, frames

    backend_module.decoded = decoded
    seen = []

    def patient(batch: np.ndarray) -> np.ndarray:
        seen.append(asked.wait(10))
        return encode(batch)

    rows(LocalBackend(patient, 2, 1), tasks(8))
    assert seen[0]


def test_a_window_that_cannot_be_decoded_is_a_failed_row_and_the_others_go_on():
    made = rows(LocalBackend(encode, 2), tasks(5, broken=2))
    assert [made[float(number)]["status"] for number in range(5)] == ["ok", "ok", "failed", "ok", "ok"]
    assert made[2.0]["error"] == "cannot be decoded: bad data" and made[2.0]["latent"] is None


def test_a_vae_that_fails_on_one_window_is_tried_with_each_alone():
    def picky(batch: np.ndarray) -> np.ndarray:
        if (batch == 2).any():
            raise RuntimeError("expected something else\nand a stack")
        return encode(batch)

    made = rows(LocalBackend(picky, 4), tasks(8))
    assert {start for start, row in made.items() if row["status"] == "failed"} == {2.0}
    assert made[2.0]["error"] == "the VAE failed: expected something else"


def test_a_vae_that_cannot_be_loaded_is_no_fault_of_the_windows(tmp_path):
    vae = LazyVae(str(tmp_path), "hunyuan_video")
    with pytest.raises(VaeNotLoadedError, match=f"{tmp_path} cannot be loaded on cpu: .*config.json"):
        rows(LocalBackend(vae.encode, 2), tasks(3))


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "python"],
)
def test_out_of_memory_goes_on_with_one_window_at_a_time(error):
    sizes = []

    def small(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise error
        return encode(batch)

    made = rows(LocalBackend(small, 3, 1), tasks(12))
    assert all(row["status"] == "ok" for row in made.values())
    assert sizes.count(3) == 2, "once for each shape, not for each batch"


def test_a_window_for_which_memory_never_suffices_is_a_failed_row_that_says_what_to_do():
    def large(batch: np.ndarray) -> np.ndarray:
        if batch.shape[1] == 5:
            raise OutOfMemoryError("CUDA out of memory")
        return encode(batch)

    made = rows(LocalBackend(large, 2), tasks(4))
    assert [made[float(number)]["status"] for number in range(4)] == ["failed", "ok", "failed", "ok"]
    assert "out of memory" in made[0.0]["error"] and "vae.tiling" in made[0.0]["error"]


def test_nothing_to_encode_asks_nothing_of_the_vae():
    def never(batch: np.ndarray) -> np.ndarray:
        raise AssertionError("the VAE was used")

    assert list(LocalBackend(never, 1).batches([])) == []
