"""The order of batches: deterministic, complete, and with the declared share of images."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.order import BatchOrder, OrderError

BUCKETS = {
    "9x16x16@8": [f"a{i}" for i in range(10)],
    "17x16x16@8": [f"b{i}" for i in range(5)],
    "1x16x16": [f"c{i}" for i in range(3)],
}
KINDS = {"9x16x16@8": "video", "17x16x16@8": "video", "1x16x16": "image"}


def order(**changes: object) -> BatchOrder:
    arguments = {"digest": "d", "buckets": BUCKETS, "kinds": KINDS, "image_share": 0.2, "batch_size": 4, "seed": 1}
    return BatchOrder(**{**arguments, **changes})  # type: ignore[arg-type]


def test_order_depends_on_the_seed_and_on_nothing_else() -> None:
    shuffled = {name: ids[::-1] for name, ids in reversed(BUCKETS.items())}
    assert list(islice(order(), 40)) == list(islice(order(buckets=shuffled), 40))
    assert list(islice(order(), 40)) != list(islice(order(seed=2), 40))


def test_a_batch_holds_one_bucket_and_an_epoch_holds_every_sample_once() -> None:
    seen: dict[str, list[str]] = {name: [] for name in BUCKETS}
    for bucket, ids in islice(order(), 60):
        assert len(ids) == 4
        assert set(ids) <= set(BUCKETS[bucket])
        seen[bucket] += ids
    for bucket, ids in BUCKETS.items():
        first, second = seen[bucket][: len(ids)], seen[bucket][len(ids) : 2 * len(ids)]
        assert sorted(first) == sorted(second) == sorted(ids)
    assert seen["9x16x16@8"][:10] != seen["9x16x16@8"][10:20]  # another epoch, another order


@given(share=st.integers(1, 99), steps=st.integers(1, 300))
def test_image_share_is_kept_at_every_moment(share: int, steps: int) -> None:
    kinds = Counter(KINDS[bucket] for bucket, _ in islice(order(image_share=share / 100), steps))
    assert kinds["image"] == steps * share // 100


def test_video_buckets_take_turns_by_their_number_of_samples() -> None:
    used = Counter(bucket for bucket, _ in islice(order(), 300))
    assert used == {"9x16x16@8": 160, "17x16x16@8": 80, "1x16x16": 60}


def test_a_saved_position_goes_on_where_it_was() -> None:
    first = order()
    list(islice(first, 13))
    second = order()
    second.load_state_dict(first.state_dict())
    assert list(islice(first, 20)) == list(islice(second, 20))


def test_a_position_of_another_training_set_or_seed_is_refused() -> None:
    state = order().state_dict()
    with pytest.raises(OrderError, match="digest d, but this training set has e"):
        order(digest="e").load_state_dict(state)
    with pytest.raises(OrderError, match="seed"):
        order(seed=2).load_state_dict(state)


def test_a_share_that_cannot_be_met_is_refused_before_the_first_batch() -> None:
    videos = {name: ids for name, ids in BUCKETS.items() if KINDS[name] == "video"}
    with pytest.raises(OrderError, match="no image sample"):
        order(buckets=videos)
    with pytest.raises(OrderError, match="3 image samples, but image_share 0 would never"):
        order(image_share=0)
    with pytest.raises(OrderError, match="15 video samples"):
        order(image_share=1)
    with pytest.raises(OrderError, match="no training samples"):
        order(buckets={"1x16x16": []})
