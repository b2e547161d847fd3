"""Which clips are copies, and which of them stays: synthetic tracks for the rule, real footage for what is found."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vid_assets.curation.duplicates import Candidate, continuous_shots, find_duplicates
from vid_assets.curation.hash_index import near_pairs
from vid_assets.curation.nearest import nearest
from vid_assets.curation.tracks import HASH_RATE, Track

LIMIT = 6


def recording(seed: int, samples: int = 24) -> Track:
    """A track in which the picture and its light change all the time."""
    rng = np.random.default_rng(seed)
    hashes = np.bitwise_xor.accumulate(np.uint64(1) << rng.integers(0, 64, samples).astype(np.uint64))
    light = 128 + np.cumsum(rng.normal(0, 2, (samples, 4)), axis=0)
    return Track(hashes ^ rng.integers(0, 2**63, dtype=np.uint64), np.ones(samples, dtype=bool), light.astype("f4"))


def part(track: Track, start: int, stop: int) -> Track:
    return Track(track.hashes[start:stop], track.known[start:stop], track.quarters[start:stop])


def noisy(track: Track, bits: int, seed: int = 0) -> Track:
    """`bits` bits of every hash flipped, other ones in each, and a little noise on the light."""
    rng = np.random.default_rng(seed)
    flips = [sum(1 << int(bit) for bit in rng.choice(64, bits, replace=False)) for _ in range(len(track))]
    light = track.quarters + rng.normal(0, 0.2, track.quarters.shape).astype("f4")
    return replace(track, hashes=track.hashes ^ np.array(flips, dtype=np.uint64), quarters=light)


def still(value: int) -> Track:
    return Track(np.array([value], dtype=np.uint64), np.ones(1, dtype=bool), np.zeros((1, 4), dtype="f4"))


def clip(name, track, pixels=100, kind="video", packet_hash=None, bit_rate=1e6, shot=None):
    length = len(track) / HASH_RATE if kind == "video" else 0.0
    return Candidate(name, f"video-{name}", shot or name, kind, 0.0, length, track, packet_hash, pixels, bit_rate)


def lost(clips, limit=LIMIT):
    return [(one.clip_id, one.duplicate_of, one.kind) for one in find_duplicates(clips, limit)]


# --- the rule, on synthetic tracks


def test_of_two_copies_the_better_one_stays_whatever_the_order():
    whole = recording(1)
    big, small = clip("big", whole, 400), clip("small", noisy(whole, 2), 100)
    assert lost([big, small]) == lost([small, big]) == [("small", "big", "near")]
    fine, coarse = clip("fine", whole, bit_rate=4e6), clip("coarse", noisy(whole, 2), bit_rate=1e6)
    assert lost([fine, coarse]) == lost([coarse, fine]) == [("coarse", "fine", "near")]


@pytest.mark.parametrize("start", [0, 3, 8])
def test_a_part_loses_to_the_longer_clip_of_equal_quality(start):
    whole = recording(1, 40)
    excerpt = clip("excerpt", noisy(part(whole, start, start + 20), 2), bit_rate=1.3e6)
    assert lost([excerpt, clip("whole", whole)]) == [("excerpt", "whole", "part")]


def test_a_long_clip_never_loses_to_a_better_excerpt_of_it():
    whole = recording(1, 40)
    assert lost([clip("whole", whole, 100), clip("excerpt", part(whole, 4, 24), 400)]) == []


def test_clips_that_only_overlap_both_stay():
    whole = recording(1, 40)
    assert lost([clip("a", part(whole, 0, 26)), clip("b", part(whole, 13, 40))]) == []


def test_boundaries_that_differ_by_a_few_frames_are_no_matter():
    whole = recording(1, 40)
    assert lost([clip("a", part(whole, 0, 38), 400), clip("b", part(whole, 1, 40), 100)]) == [("b", "a", "near")]


@pytest.mark.parametrize(("start", "stop"), [(0, 24), (5, 20)])
def test_a_mirrored_copy_is_found_whole_or_in_part(start, stop):
    whole = recording(1)
    copy = clip("copy", noisy(part(whole, start, stop), 2).mirrored(), 50)
    assert lost([clip("original", whole), copy]) == [("copy", "original", "mirrored")]


def test_a_still_camera_gives_equal_hashes_but_no_duplicates():
    """Two takes: the same picture within a bit or two, and something else moves in front of it."""
    scene, one, other = recording(1, 1), recording(2), recording(3)
    takes = [replace(noisy(take, 1, seed), hashes=scene.hashes.repeat(24)) for seed, take in enumerate((one, other))]
    assert lost([clip("first", takes[0], 400), clip("second", takes[1], 100)]) == []
    copy = replace(takes[0], quarters=takes[0].quarters * 0.9 + 5)
    assert lost([clip("first", takes[0], 400), clip("copy", copy, 100)]) == [("copy", "first", "near")]


def test_clips_in_which_nothing_moves_prove_nothing():
    nothing = Track(recording(1, 1).hashes.repeat(24), np.ones(24, dtype=bool), np.full((24, 4), 90.0, dtype="f4"))
    assert lost([clip("a", nothing, 400), clip("b", nothing, 100)]) == []
    assert lost([clip("a", nothing, 400, packet_hash="x"), clip("b", nothing, 100, packet_hash="x")]) == [
        ("b", "a", "exact")
    ]


def test_clips_of_one_continuous_shot_never_lose_to_each_other():
    repeated = recording(1)
    assert lost([clip("a", repeated, 400, shot="s"), clip("b", repeated, 100, shot="s")]) == []
    assert lost([clip("a", repeated, 400, shot="s"), clip("b", repeated, 100, shot="t")]) == [("b", "a", "near")]


def test_a_shot_goes_on_where_a_clip_begins_where_the_other_ended():
    shots = continuous_shots([("v", 16.0, 30.0), ("v", 0.0, 16.0), ("v", 30.2, 40.0), ("w", 40.0, 50.0)])
    assert shots["v", 0.0] == shots["v", 16.0]
    assert len(set(shots.values())) == 3


def test_a_chain_keeps_what_only_lost_to_a_loser():
    """a - b and b - c are near, a - c is not: b loses to a, and c stays, as b is gone."""
    a = clip("a", still(0), 3, "image")
    b, c = clip("b", still(0b1111), 2, "image"), clip("c", still(0xFF), 1, "image")
    assert [name for name, _, _ in lost([a, b, c])] == ["b"]
    assert [name for name, _, _ in lost([b, c])] == ["c"]


def test_identical_packets_are_exact_even_without_hashes():
    none = Track(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool), np.zeros((0, 4), dtype="f4"))
    found = find_duplicates([clip("a", none, 1, packet_hash="x"), clip("b", none, 1, packet_hash="x")], LIMIT)
    assert [(one.clip_id, one.duplicate_of, one.distance, one.kind) for one in found] == [("b", "a", 0, "exact")]


def test_kinds_are_not_mixed_and_flat_pictures_are_left_alone():
    assert lost([clip("a", still(5)), clip("b", still(5), kind="image")]) == []
    flat = replace(still(0), known=np.zeros(1, dtype=bool))
    assert lost([clip("a", flat, kind="image"), clip("b", flat, kind="image")]) == []
    black = replace(recording(1), known=np.zeros(24, dtype=bool))
    assert lost([clip("a", black), clip("b", black)]) == []
    assert lost([]) == []


@pytest.mark.parametrize("limit", [0, 2, 3, 5, 7])
def test_the_search_finds_every_pair_once(limit):
    rng = np.random.default_rng(limit)
    pool = rng.integers(0, 2**64, 300, dtype=np.uint64)
    flips = [sum(1 << int(b) for b in rng.choice(64, rng.integers(0, limit + 3), replace=False)) for _ in range(300)]
    queries = pool[rng.integers(0, 300, 300)] ^ np.array(flips, dtype=np.uint64)
    found = [pair for left, right in near_pairs(queries, pool, limit) for pair in zip(left.tolist(), right.tolist())]
    every = np.argwhere(np.bitwise_count(queries[:, None] ^ pool) <= limit)
    assert sorted(found) == sorted(map(tuple, every.tolist())) and len(found) > 50


# --- what holds of every corpus


@st.composite
def corpora(draw) -> list[Candidate]:
    """Up to a dozen clips made from three recordings: excerpts, re-encodes, mirrored ones, equal packets."""
    clips = []
    for number in range(draw(st.integers(2, 12))):
        which, start, stop = draw(st.integers(0, 2)), draw(st.sampled_from([0, 2, 7])), draw(st.sampled_from([26, 32]))
        track, packets = part(recording(which, 32), start, stop), f"{which}:{start}:{stop}"
        if draw(st.booleans()):
            track, packets = noisy(track, draw(st.integers(0, 4)), number), None
        if draw(st.booleans()):
            track, packets = track.mirrored(), None
        rate = draw(st.sampled_from([1e6, 1.2e6, 5e6]))
        clips.append(clip(f"c{number}", track, draw(st.integers(1, 3)), packet_hash=packets, bit_rate=rate))
    return clips


PROPERTY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@PROPERTY
@given(corpora(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(clips, shuffler):
    expected = find_duplicates(clips, LIMIT)
    shuffler.shuffle(clips)
    assert find_duplicates(clips, LIMIT) == expected


@PROPERTY
@given(corpora())
def test_a_clip_loses_if_and_only_if_it_would_lose_to_a_kept_clip_alone(clips):
    """The rule itself; so a loser is kept again once no such clip is left, and nothing is lost in a circle."""
    found = {one.clip_id: one for one in find_duplicates(clips, LIMIT)}
    kept = [one for one in clips if one.clip_id not in found]
    for one in clips:
        alone = [find_duplicates([one, other], LIMIT) for other in kept if other is not one]
        winners = {pair.duplicate_of: pair for (pair,) in filter(None, alone) if pair.clip_id == one.clip_id}
        if one.clip_id in found:
            named = found[one.clip_id]
            assert winners[named.duplicate_of] == named
            # one of several with equal packets names the same winner as the best of them
            assert one.packet_hash or named.distance <= min(pair.distance for pair in winners.values())
        else:
            assert not winners


@PROPERTY
@given(corpora())
def test_mirroring_every_clip_changes_nothing(clips):
    mirrored = [replace(one, track=one.track.mirrored()) for one in clips]
    assert find_duplicates(mirrored, LIMIT) == find_duplicates(clips, LIMIT)


def test_a_large_corpus_takes_seconds():
    clips = [clip(f"c{number}", recording(number), pixels=100 + number) for number in range(10_000)]
    clips.append(clip("copy", noisy(part(clips[7].track, 4, 20), 2), pixels=1))
    start = time.perf_counter()
    assert lost(clips) == [("copy", "c7", "part")]
    assert time.perf_counter() - start < 20


def test_the_nearest_clips_are_shown_with_their_distance():
    whole = recording(1)
    others = [clip(f"other-{n}", recording(10 + n)) for n in range(5)]
    copies = [clip("near", noisy(whole, 3)), clip("mirrored", noisy(whole, 5).mirrored())]
    shown = nearest(clip("asked", whole), [*others, *copies], 3)
    assert [(one.clip_id, one.kind, one.moves_alike) for one in shown[:2]] == [
        ("near", "near", True),
        ("mirrored", "mirrored", True),
    ]
    assert 1 <= shown[0].distance <= 3 < shown[1].distance <= 5 < 15 < shown[2].distance
