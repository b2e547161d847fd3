"""Copies of real footage are found, and nothing else is: from files, through statistics and scores, to duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.duplicates import Candidate, find_duplicates
from vid_assets.curation.hashing import MIRROR, perceptual_hash, without_bars
from vid_assets.curation.scores import score
from vid_assets.curation.source_arrays import SourceArrays
from vid_assets.curation.tracks import Track
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.rendering import needs_footage, texture, write_video

LIMIT = 6
#: A signer before a still camera, a camera that moves in, a pan; five seconds of each at most.
ORIGINALS = ("intel_asl_bird.mkv", "mdn_rabbit320.mp4", "exo_bear_vp9.webm")
EDGE = 40


def boxed(frame: np.ndarray) -> np.ndarray:
    return np.pad(frame, ((EDGE, EDGE), (0, 0), (0, 0)))


def smaller(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (224, 168), interpolation=cv2.INTER_AREA)


#: Name -> what is done to each frame, the seconds cut off at the start and at the end, and the kind it is found as.
COPIES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float, str]] = {
    "re-encoded": (lambda frame: frame, 0.0, 0.0, "near"),
    "smaller": (smaller, 0.0, 0.0, "near"),
    "letterboxed": (boxed, 0.0, 0.0, "near"),
    "mirrored": (lambda frame: np.ascontiguousarray(frame[:, ::-1]), 0.0, 0.0, "mirrored"),
    "trimmed": (smaller, 0.37, 0.23, "part"),
}


def frames(path: Path, limit_s: float = 5.0) -> Iterator[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= limit_s:
                return
            yield frame.time, cv2.resize(frame.to_ndarray(format="rgb24"), (320, 240), interpolation=cv2.INTER_AREA)


def candidate(path: str | Path, start_s: float, end_s: float, pixels: int, name: str) -> Candidate:
    video, groups = header(path), measured(path)
    times = groups["light"].timestamps
    count = sum(start_s <= time < end_s for time in times)
    clip = {"start_s": start_s, "end_s": end_s, "kind": "video", "frame_count": count}
    found = score(clip, SourceArrays(video, groups))
    hashes = np.array([value or 0 for value in found.hashes], dtype=np.int64).view(np.uint64)
    known = np.array([value is not None for value in found.hashes])
    track = Track(hashes, known, np.array(found.quarters, dtype=np.float32).reshape(-1, 4))
    return Candidate(name, str(path), name, "video", start_s, end_s, track, found.packet_hash, pixels, 1e6)


@pytest.fixture(scope="module")
def originals() -> list[Candidate]:
    paths = [FOOTAGE / "video" / name for name in ORIGINALS]
    times = [measured(path)["light"].timestamps for path in paths]
    return [candidate(p, t[0], min(t[-1] + 0.01, 5.0), 400, p.name) for p, t in zip(paths, times, strict=True)]


@needs_footage
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_real_footage_are_found(how, originals, tmp_path):
    change, start_s, end_s, kind = COPIES[how]
    copies = []
    for one in originals:
        shown = list(frames(Path(one.video_id)))
        chosen = [(time, f) for time, f in shown if shown[0][0] + start_s <= time < shown[-1][0] - end_s + 1e-3]
        path = tmp_path / f"{one.clip_id}.mp4"
        times_ms = [round(1000 * (time - chosen[0][0])) for time, _ in chosen]
        write_video(
            path, (change(f) for _, f in chosen), fps=30, times_ms=times_ms, crf="30", preset="veryfast", bf="0"
        )
        copies.append(candidate(path, 0.0, times_ms[-1] / 1000 + 0.03, 100, f"copy of {one.clip_id}"))
    found = find_duplicates([*copies, *originals], LIMIT)
    assert [(one.clip_id, one.duplicate_of, one.kind) for one in found] == sorted(
        (f"copy of {one.clip_id}", one.clip_id, kind) for one in originals
    )


@needs_footage
def test_other_takes_of_the_same_scene_are_no_copies(originals):
    """The same man signs two words before the same wall."""
    walk = FOOTAGE / "video" / "intel_asl_walk.mkv"
    assert find_duplicates([originals[0], candidate(walk, 0.0, 3.0, 100, "walk")], LIMIT) == []


@needs_footage
def test_the_rabbit_in_vp8_is_the_rabbit_in_h264():
    pair = [FOOTAGE / "video" / f"mdn_rabbit320.{ending}" for ending in ("mp4", "webm")]
    clips = [candidate(path, 0.0, 7.8, pixels, path.suffix) for path, pixels in zip(pair, (400, 100), strict=True)]
    assert [(one.clip_id, one.kind) for one in find_duplicates(clips, LIMIT)] == [(".webm", "near")]


@needs_footage
@pytest.mark.parametrize("length_s", [2.5, 4.0])
def test_no_two_stretches_of_real_footage_are_copies(length_s):
    """Not even where they show the same scene, and were not known to be of one shot."""
    clips = []
    for name in (*ORIGINALS, "intel_asl_walk.mkv", "mdn_pig.mp4", "exo_london_320x240.mp4"):
        path = FOOTAGE / "video" / name
        times = measured(path)["light"].timestamps
        for start in np.arange(times[0], times[-1] - length_s, length_s):
            clips.append(candidate(path, float(start), float(start + length_s), 100, f"{name} {start:.2f}"))
    assert len(clips) >= 5
    assert find_duplicates(clips, LIMIT) == []


def test_the_hash_of_the_mirrored_picture_is_the_hash_xor_mirror():
    gray = cv2.cvtColor(texture(3, 240, 320), cv2.COLOR_RGB2GRAY)
    one, other = perceptual_hash(gray), perceptual_hash(np.ascontiguousarray(gray[:, ::-1]))
    assert one is not None and other is not None and (one ^ other ^ MIRROR).bit_count() <= 1


def test_bars_are_left_out_and_dark_edges_are_not():
    gray = np.clip(cv2.cvtColor(texture(3, 160, 320), cv2.COLOR_RGB2GRAY), 60, 255).astype(np.uint8)
    box = without_bars(np.pad(gray, ((10, 30), (0, 0))))
    assert box is not None and box.shape == (158, 320)
    assert without_bars(gray) is None
    fading = (gray * np.linspace(0, 1, 160)[:, None]).astype(np.uint8)
    assert without_bars(fading) is None
    assert without_bars(np.zeros((90, 160), dtype=np.uint8)) is None
