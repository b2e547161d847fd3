"""Every odd file of the real footage gives the row that a person would expect."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.statistics import measure_apart
from vid_assets.footage.probe import probe_apart
from vid_assets.footage.settings import Decoding
from vid_assets_tests.unit.footage.rendering import needs_footage


@dataclass(frozen=True)
class Expected:
    """The row of `videos` (kind, codec, size, rotation or the reason), then what decoding proved."""

    kind: str | None = None
    codec: str | None = None
    size: tuple[int | None, int | None] = (None, None)
    rotation: int | None = None
    reason: str = ""
    frames: int = 0
    proof: tuple[str, ...] = ()


EXPECTED = {
    "rot90_3frames.mov": Expected("video", "h264", (320, 568), 90, frames=3),
    "mpeg4p2_one_frame.mp4": Expected("video", "mpeg4", (256, 144), 0, frames=1),  # 176x144, pixels of 16:11
    "one_frame_8x8.webm": Expected("video", "vp8", (8, 8), 0, frames=1),
    "var_fps.mp4": Expected("video", "h264", (128, 128), 0, frames=300),
    "corrupted_tail.mp4": Expected(
        "video", "h264", (1280, 720), 0, frames=49, proof=("1 damaged of 50 packets", "3.10-4.90 s", "Invalid data")
    ),
    "audio_only.mp4": Expected(reason="no video stream in the file (only audio)"),
    "no_streams.mp4": Expected(reason="no video stream in the file (no stream at all)"),
    "zero_frames.gif": Expected(reason="the video stream holds no frame"),
    "zero_bytes.webm": Expected(reason="the file is empty (0 bytes)"),
    "lfs_pointer.gif": Expected(reason="git lfs pull"),
    "noext_webm_fuzz": Expected(kind="other", reason="not a video or image that can be read"),
}


@needs_footage
def test_no_odd_file_is_left_out():
    assert {path.name for path in (FOOTAGE / "odd").iterdir()} == set(EXPECTED)


@needs_footage
@pytest.mark.parametrize("name", EXPECTED)
def test_an_odd_file_gives_the_row_that_a_person_expects(name, capfd):
    path, expected = FOOTAGE / "odd" / name, EXPECTED[name]
    found = probe_apart(str(path), Decoding())
    assert found.status == ("failed" if expected.reason else "ok")
    assert (found.kind, found.codec, (found.width, found.height)) == (expected.kind, expected.codec, expected.size)
    assert found.rotation == expected.rotation
    if expected.reason:
        assert expected.reason in found.error and "/" not in found.error and "\n" not in found.error
        assert all(value is None for key, value in vars(found).items() if key not in ("status", "error", "log", "kind"))
    else:
        video = vars(found) | {"size_bytes": path.stat().st_size}
        proof = measure_apart(str(path), video, ["proof"], Decoding())["proof"]
        assert len(proof.timestamps) == expected.frames
        assert proof.status == ("failed" if expected.proof else "ok")
        assert all(words in proof.error for words in expected.proof)
        assert found.is_vfr is (None if name.endswith("webm") else name == "var_fps.mp4")
    assert capfd.readouterr() == ("", "")
