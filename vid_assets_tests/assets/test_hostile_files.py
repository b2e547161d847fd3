"""Files that would cost too much: rows with a reason, tried again when the limit is raised and not otherwise.

And what is opened: each file a few times by `frame_stats`, by no asset after it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from vid_assets.curation.groups import GROUPS
from vid_assets_tests.harness import Home

UP_TO_STATS = ("raw_videos", "frame_stats")
AFTER_STATS = ("clips", "clip_scores", "curated_clips")
_IN_OPEN, _IN_CLOSE = 0x20, 0x18


def read(made: Home) -> dict[str, int]:
    """Everything up to the statistics; the counts that are not 0."""
    made.scan()
    counts = made.materialize(UP_TO_STATS, "b00001")
    return {name: count for name, count in counts.items() if count}


def row(made: Home, table: str, name: str, where: str = "true") -> dict:
    """The row of the file called `name`."""
    (video_id,) = {
        row["video_id"] for row in made.rows("sources", "state = 'present'") if row["uri"].endswith(f"/{name}")
    }
    return made.project.store.read(table, f"video_id = '{video_id}' AND {where}")[0]


def test_a_header_over_a_limit_is_read_again_once_the_limit_is_raised(home, put):
    made = home(decoding={"max_pixels": 10_000})
    put(made, "one.mp4")
    Image.linear_gradient("L").resize((200, 150)).save(made.footage / "large.png")
    read(made)
    before = row(made, "videos", "large.png")
    assert before["status"] == "failed" and before["hit_limit"] == "max_pixels"
    assert "200x150 pixels" in before["error"] and "decoding.max_pixels = 10000" in before["error"]
    made.change(decoding={"max_pixels": 9_000, "stall_s": 99})
    assert read(made) == {}
    made.change(decoding={"max_pixels": 20_000})
    assert read(made) == {"raw_videos[b00001]": 1}
    assert row(made, "videos", "large.png")["limit_value"] == 20_000
    made.change(decoding={"max_pixels": 40_000})
    assert read(made) == {"raw_videos[b00001]": 1, "frame_stats[b00001]": len(GROUPS)}
    assert row(made, "videos", "large.png")["status"] == "ok"
    assert read(made) == {}


def test_a_file_over_the_memory_is_decoded_again_once_it_is_raised(home, put):
    made = home(decoding={"memory_gb": 0.5})
    put(made, "one.mp4")
    Image.new("L", (30_000, 3_500)).save(made.footage / "wide.png", compress_level=1)
    read(made)
    before = row(made, "frame_stats", "wide.png", "`group` = 'proof'")
    assert before["status"] == "failed" and before["hit_limit"] == "memory_gb" and "more memory" in before["error"]
    assert row(made, "frame_stats", "one.mp4", "`group` = 'proof'")["status"] == "ok"
    assert read(made) == {}
    made.materialize(AFTER_STATS, "b00001")  # what could not be read gives no clip, and no error
    made.change(decoding={"memory_gb": 4})
    assert read(made) == {"frame_stats[b00001]": len(GROUPS)}
    assert row(made, "frame_stats", "wide.png", "`group` = 'proof'")["status"] == "ok"


@contextmanager
def opens(*files: Path) -> Iterator[Counter[str]]:
    """Counts how often each file is opened, by whichever process, until the end of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    watched = {libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_OPEN | _IN_CLOSE): path for path in files}
    counts: Counter[str] = Counter()
    ended = threading.Event()
    stop = files[0].with_name(".stop")
    stop.touch()
    last = libc.inotify_add_watch(descriptor, os.fsencode(stop), _IN_OPEN)

    def listen() -> None:
        while True:
            data = os.read(descriptor, 1 << 16)
            while data:
                watch, mask, _, length = struct.unpack_from("iIII", data)
                data = data[16 + length :]
                if watch == last:
                    ended.set()
                    return
                if mask & _IN_OPEN:
                    counts[watched[watch].name] += 1

    threading.Thread(target=listen, daemon=True).start()
    yield counts
    stop.open().close()
    assert ended.wait(10)
    os.close(descriptor)
    stop.unlink()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opens are counted with inotify, which Linux has")
def test_only_frame_stats_opens_footage_and_each_file_twice(home, put):
    made = home()
    put(made, "one.mp4")
    put(made, "two.mp4")
    files = sorted(made.footage.glob("*.mp4"))
    made.scan()
    made.materialize(["raw_videos"], "b00001")
    with opens(*files) as counts:
        made.materialize(["frame_stats"], "b00001")
    assert counts == {"one.mp4": 2, "two.mp4": 2}  # to see whether it can be read at all, and to decode it
    with opens(*files) as counts:
        made.materialize(AFTER_STATS, "b00001")
        made.materialize(["duplicates"])
        made.change(policy={"luma_min": 30.0}, shots={"adaptive_threshold": 4.0})
        made.materialize(AFTER_STATS, "b00001")
        made.materialize(["frame_stats"], "b00001")
    assert counts == {}
    assert len(made.rows("verdicts")) == 2
