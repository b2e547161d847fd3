import os
import random
import time

import numpy as np
import pytest

from vid_assets.config import Shots
from vid_assets.curation.duplicates import Candidate, find_duplicates
from vid_assets.curation.scores import score
from vid_assets.curation.shots import find_clips
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.rendering import FOOTAGE, needs_footage, pan, write_video


def clip(name, hashes, pixels=100, kind="video", packet_hash=None, bit_rate=1.0):
    return Candidate(name, f"video-{name}", kind, 0.0, 1.0, hashes, packet_hash, pixels, bit_rate)


def from_file(path):
    video, groups = header(path), measured(path)
    (found,) = find_clips(video, groups, Shots())
    result = score(vars(found), video, groups)
    pixels = video["width"] * video["height"]
    rate = video["size_bytes"] * 8 / video["duration_s"]
    return Candidate(os.path.basename(path), "v", "video", 0, 1, result.hashes, result.packet_hash, pixels, rate)


def by_comparing_all(candidates, limit):
    """The definition, in quadratic time: kept clips from the best to the worst."""
    kept, lost = [], {}
    for one in sorted(candidates, key=lambda c: (-c.pixels, -c.bit_rate, c.video_id)):
        near = []
        for other in kept:
            pairs = zip(one.hashes, other.hashes, strict=True)
            distance = max(((a ^ b) & (2**64 - 1)).bit_count() for a, b in pairs)
            if distance <= limit:
                near.append((distance, kept.index(other)))
        if near:
            lost[one.clip_id] = (kept[min(near)[1]].clip_id, min(near)[0])
        else:
            kept.append(one)
    return lost


@needs_footage
def test_a_re_encode_of_real_footage_is_a_near_duplicate_and_other_takes_are_not():
    names = ["mdn_rabbit320.mp4", "mdn_rabbit320.webm", "intel_asl_bird.mkv", "intel_asl_walk.mkv", "mdn_pig.mp4"]
    found = find_duplicates([from_file(FOOTAGE / "video" / name) for name in names], 6)
    assert [(item.clip_id, item.duplicate_of, item.kind) for item in found] == [
        ("mdn_rabbit320.webm", "mdn_rabbit320.mp4", "near")
    ]


def test_a_smaller_and_coarser_copy_loses_to_the_original(tmp_path):
    import cv2

    frames = pan(31, 60)
    original = from_file(write_video(tmp_path / "a.mp4", frames))
    small = [cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA) for image in frames]
    copy = from_file(write_video(tmp_path / "b.mp4", small, crf="32"))
    (found,) = find_duplicates([copy, original], 6)
    assert (found.clip_id, found.duplicate_of, found.kind) == ("b.mp4", "a.mp4", "near")
    assert find_duplicates([original, from_file(write_video(tmp_path / "c.mp4", pan(32, 60)))], 6) == []


@pytest.mark.parametrize("limit", [0, 3, 6, 16])
def test_the_result_is_that_of_comparing_all_with_all_in_any_order(limit):
    rng = random.Random(limit)
    clips = []
    for number in range(400):
        hashes = [rng.getrandbits(64) - 2**63 for _ in range(2)]
        if clips and rng.random() < 0.6:
            flips = [sum(1 << bit for bit in rng.sample(range(63), rng.randrange(limit + 3))) for _ in range(2)]
            hashes = [old ^ flip for old, flip in zip(rng.choice(clips).hashes, flips, strict=True)]
        clips.append(clip(f"c{number:03}", hashes, pixels=rng.randrange(20)))
    expected = by_comparing_all(clips, limit)
    for _ in range(3):
        rng.shuffle(clips)
        found = find_duplicates(clips, limit)
        assert {item.clip_id: (item.duplicate_of, item.distance) for item in found} == expected
    assert expected


def test_a_chain_keeps_what_only_lost_to_a_loser():
    """a - b and b - c are near, a - c is not: b loses to a, and c stays, as b is gone."""
    a, b, c = clip("a", [0], 3), clip("b", [0b1111], 2), clip("c", [0b11111111], 1)
    assert [item.clip_id for item in find_duplicates([a, b, c], 6)] == ["b"]
    assert [item.clip_id for item in find_duplicates([b, c], 6)] == ["c"]


def test_identical_packets_are_exact_even_without_hashes():
    found = find_duplicates([clip("a", [], 1, packet_hash="x"), clip("b", [], 1, packet_hash="x")], 6)
    assert [(item.clip_id, item.duplicate_of, item.distance, item.kind) for item in found] == [("b", "a", 0, "exact")]


def test_kinds_are_not_mixed_and_clips_without_hash_are_left_alone():
    assert find_duplicates([clip("a", [5]), clip("b", [5], kind="image")], 6) == []
    assert find_duplicates([clip("a", []), clip("b", [])], 6) == []
    assert find_duplicates([], 6) == []


def test_a_large_corpus_takes_seconds():
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63 - 1, (30_000, 4), dtype=np.int64).tolist()
    clips = [clip(f"c{number}", row, pixels=number) for number, row in enumerate(hashes)]
    clips.append(clip("copy", [value ^ 0b101 for value in hashes[7]], pixels=0))
    start = time.perf_counter()
    assert [(item.clip_id, item.duplicate_of, item.distance) for item in find_duplicates(clips, 6)] == [
        ("copy", "c7", 2)
    ]
    assert time.perf_counter() - start < 20
