"""The order of batches: deterministic, complete, the same for every rank, and with the declared share of images."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.order import BatchOrder, Group, OrderError, part_of

BUCKETS = {
    "9x16x16@8": [f"a{i}" for i in range(10)],
    "17x16x16@8": [f"b{i}" for i in range(5)],
    "1x16x16": [f"c{i}" for i in range(3)],
    "1x32x16": [f"d{i}" for i in range(6)],
}
KINDS = {"9x16x16@8": "video", "17x16x16@8": "video", "1x16x16": "image", "1x32x16": "image"}
TOKENS = {"9x16x16@8": 12, "17x16x16@8": 20, "1x16x16": 4, "1x32x16": 8}
SOURCE = {"uri": "/home/lancedb/latents.lance", "version": 3, "digest": "d"}


def order(**changes: object) -> BatchOrder:
    arguments = {"source": SOURCE, "buckets": BUCKETS, "kinds": KINDS, "image_share": 0.2, "batch_size": 4, "seed": 1}
    return BatchOrder(**{**arguments, **changes})  # type: ignore[arg-type]


def flat(batch: list[Group]) -> list[str]:
    return [sample for _, ids in batch for sample in ids]


def test_order_depends_on_the_seed_and_on_nothing_else() -> None:
    shuffled = {name: ids[::-1] for name, ids in reversed(BUCKETS.items())}
    assert list(islice(order(), 40)) == list(islice(order(buckets=shuffled), 40))
    assert list(islice(order(), 40)) != list(islice(order(seed=2), 40))


def test_a_group_holds_one_bucket_and_an_epoch_holds_every_sample_once() -> None:
    seen: dict[str, list[str]] = {name: [] for name in BUCKETS}
    for batch in islice(order(), 80):
        assert len(flat(batch)) == 4
        for bucket, ids in batch:
            assert set(ids) <= set(BUCKETS[bucket])
            seen[bucket] += ids
    for bucket, ids in BUCKETS.items():
        first, second = seen[bucket][: len(ids)], seen[bucket][len(ids) : 2 * len(ids)]
        assert sorted(first) == sorted(second) == sorted(ids)
    assert seen["9x16x16@8"][:10] != seen["9x16x16@8"][10:20]  # another epoch, another order


@given(
    share=st.integers(1, 99), size=st.integers(1, 9), count=st.integers(1, 60), seed=st.integers(0, 3), stop=st.data()
)
def test_every_batch_has_its_share_of_images_to_within_one_sample(
    share: int, size: int, count: int, seed: int, stop: st.DataObject
) -> None:
    one = order(image_share=share / 100, batch_size=size, seed=seed)
    resume_at = stop.draw(st.integers(0, count))
    drawn = 0
    for number in range(1, count + 1):
        if number == resume_at:
            state = json.loads(json.dumps(one.state_dict()))
            one = order(image_share=share / 100, batch_size=size, seed=seed)
            one.load_state_dict(state)
        images = sum(len(ids) for bucket, ids in next(one) if KINDS[bucket] == "image")
        drawn += images
        assert abs(images - size * share / 100) < 1
        assert drawn == number * size * share // 100


@given(share=st.integers(1, 99), size=st.integers(1, 9), count=st.integers(1, 60))
def test_a_share_of_tokens_is_kept_to_within_one_sample(share: int, size: int, count: int) -> None:
    tokens = Counter[str]()
    for batch in islice(order(image_share=share / 100, batch_size=size, tokens=TOKENS), count):
        for bucket, ids in batch:
            tokens[KINDS[bucket]] += TOKENS[bucket] * len(ids)
        declared = Fraction(share, 100)
        lacking = declared * tokens.total() - tokens["image"]
        assert 0 <= lacking < declared * 20 + (1 - declared) * 8  # the largest video and the largest image


def test_buckets_take_turns_by_their_number_of_samples() -> None:
    used = Counter[str]()
    for batch in islice(order(), 300):
        used.update({bucket: len(ids) for bucket, ids in batch})
    for bucket, expected in {"9x16x16@8": 640, "17x16x16@8": 320, "1x16x16": 80, "1x32x16": 160}.items():
        assert abs(used[bucket] - expected) < 4  # a batch


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_together_have_the_batch_and_each_has_its_part_of_the_images(world_size: int) -> None:
    for batch in islice(order(image_share=0.5, batch_size=8), 30):
        parts = [part_of(batch, rank, world_size) for rank in range(world_size)]
        together: list[str | None] = [None] * 8
        for rank, part in enumerate(parts):
            together[rank::world_size] = flat(part)
            assert sum(len(ids) for bucket, ids in part if KINDS[bucket] == "image") == 4 // world_size
        assert together == flat(batch)


def test_a_saved_position_goes_on_where_it_was() -> None:
    first = order()
    list(islice(first, 13))
    second = order()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert list(islice(first, 20)) == list(islice(second, 20))


def test_a_position_of_another_training_set_seed_or_mix_is_refused_by_name() -> None:
    state = order().state_dict()
    for key, value in (("digest", "e"), ("version", 4), ("uri", "/else/latents.lance")):
        with pytest.raises(OrderError, match=f"is of the {key} {SOURCE[key]}, but here it is {value}"):
            order(source={**SOURCE, key: value}).load_state_dict(state)
    with pytest.raises(OrderError, match="seed"):
        order(seed=2).load_state_dict(state)
    with pytest.raises(OrderError, match="share_unit samples, but here it is tokens"):
        order(tokens=TOKENS).load_state_dict(state)
    with pytest.raises(OrderError, match="batch_size 4"):
        order(batch_size=8).load_state_dict(state)


def test_a_share_that_cannot_be_met_is_refused_before_the_first_batch() -> None:
    videos = {name: ids for name, ids in BUCKETS.items() if KINDS[name] == "video"}
    with pytest.raises(OrderError, match="no image sample"):
        order(buckets=videos)
    with pytest.raises(OrderError, match="9 image samples, but image_share 0 would never"):
        order(image_share=0)
    with pytest.raises(OrderError, match="15 video samples"):
        order(image_share=1)
    with pytest.raises(OrderError, match="no training samples"):
        order(buckets={})
    assert {bucket for batch in islice(order(buckets=videos, image_share=0), 30) for bucket, _ in batch} == set(videos)


def test_buckets_take_turns_by_the_declared_mix() -> None:
    mix = {"9x16x16@8": 1, "17x16x16@8": 3, "1x16x16": 0.5, "1x32x16": 0.5}
    one = order(image_share=0.25, mix=mix)
    for number, _ in enumerate(islice(one, 120), 1):
        videos = one.used["9x16x16@8"] + one.used["17x16x16@8"]
        assert abs(one.used["17x16x16@8"] - 0.75 * videos) <= 4
        assert abs(one.used["1x16x16"] - 0.5 * number) <= 1


def test_a_batch_size_for_each_bucket_of_videos() -> None:
    sizes = {"9x16x16@8": 6, "17x16x16@8": 2}
    one = order(image_share=0.25, batch_size=sizes)
    seen = Counter()
    for batch in islice(one, 60):
        (video,) = (bucket for bucket, _ in batch if KINDS[bucket] == "video")
        assert len(flat(batch)) == sizes[video]
        seen[video] += 1
    assert min(seen.values()) > 5
    assert sum(one.used[name] for name in ("1x16x16", "1x32x16")) == sum(one.used.values()) // 4
    images = {name: BUCKETS[name] for name in ("1x16x16", "1x32x16")}
    alone = order(buckets=images, image_share=1, batch_size={"1x16x16": 8, "1x32x16": 2})
    assert {len(flat(batch)) for batch in islice(alone, 20)} == {8, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": {"9x16x16@8": 4}}, "batch_size lacks 17x16x16@8"),
        ({"mix": {"9x16x16@8": 1, "5x16x16@8": 1}}, "mix lacks 17x16x16@8, 1x16x16, 1x32x16"),
    ],
)
def test_every_bucket_with_samples_needs_its_size_and_weight(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OrderError, match=message):
        order(**changes)


def test_a_weight_of_a_bucket_that_has_no_samples_yet_changes_nothing() -> None:
    mix = dict.fromkeys(BUCKETS, 1)
    assert list(islice(order(mix=mix), 20)) == list(islice(order(mix=mix | {"5x16x16@8": 7}), 20))


@given(share=st.integers(1, 99), sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_no_batch_has_more_of_a_bucket_than_is_said(share: int, sizes: tuple[int, int]) -> None:
    one = order(image_share=share / 100, batch_size=dict(zip(("9x16x16@8", "17x16x16@8"), sizes, strict=True)))
    seen = dict.fromkeys(BUCKETS, 0)
    for batch in islice(one, 150):
        for bucket, ids in batch:
            seen[bucket] = max(seen[bucket], len(ids))
    assert all(seen[bucket] <= one.most(bucket) for bucket in BUCKETS)
    assert seen["9x16x16@8"] in (one.most("9x16x16@8"), one.most("9x16x16@8") - 1)


def test_a_position_of_another_mix_is_refused() -> None:
    state = order(mix=dict.fromkeys(BUCKETS, 1)).state_dict()
    with pytest.raises(OrderError, match="mix"):
        order().load_state_dict(state)
