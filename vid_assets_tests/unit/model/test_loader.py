"""Batches ahead of time: one order for all ranks and workers, exact resume, a pinned version that stays as it was."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import lance
import pytest

from model.data.loader import Loader
from model.data.order import BatchOrder, OrderError, part_of
from model.data.training_set import Batch, DataError, TrainingSet
from vid_assets_tests.unit.model.tables import (
    LATENTS,
    member,
    mixed_training_set,
    opened,
    sample_row,
    write_table,
    write_training_set,
)

BATCHES = 12


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return mixed_training_set(tmp_path_factory.mktemp("tables"), 16, 16)


@pytest.fixture
def data(spec: dict[str, Any]) -> TrainingSet:
    return opened(spec, 16)


def mixed_order(data: TrainingSet) -> BatchOrder:
    return data.order(0.25, 4, 1)


def seen(batches: Iterable[list[Batch]]) -> list[Any]:
    """Everything that a batch holds, comparable."""
    return [
        [
            (
                [sample.sample_id for sample in part.samples],
                part.latents.numpy().tobytes(),
                [None if text is None else text.numpy().tobytes() for text in part.states["text"]],
            )
            for part in batch
        ]
        for batch in batches
    ]


def undisturbed(data: TrainingSet, count: int = BATCHES) -> list[Any]:
    with Loader(data, mixed_order(data), ahead=0) as loader:
        return seen(islice(loader, count))


def test_every_sample_comes_with_its_own_bytes(data: TrainingSet) -> None:
    with Loader(data, mixed_order(data)) as loader:
        for batch in islice(loader, BATCHES):
            for part in batch:
                for sample, latent in zip(part.samples, part.latents):
                    stored = sample_row(int(sample.sample_id[1:]), sample.shape)["latent"]
                    assert latent.numpy().tobytes() == stored
        assert sum(loader.used.values()) == BATCHES * 4
        assert loader.used["1x16x16"] == BATCHES  # a quarter


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_order_is_the_same_for_any_number_of_ranks_and_workers(
    data: TrainingSet, world_size: int, workers: int
) -> None:
    expected = list(islice(mixed_order(data), BATCHES))
    # a worker takes seconds to start, so that with workers one rank stands for all
    for rank in range(world_size) if not workers else [world_size - 1]:
        with Loader(data, mixed_order(data), rank=rank, world_size=world_size, workers=workers) as loader:
            found = seen(islice(loader, BATCHES))
            state = json.loads(json.dumps(loader.state_dict()))
        reference = [[data.read(ids) for _, ids in part_of(batch, rank, world_size)] for batch in expected]
        assert found == seen(reference)
        # the workers had read ahead; the position is behind what was given out, and holds for any other number
        with Loader(data, mixed_order(data)) as resumed:
            resumed.load_state_dict(state)
            assert seen(islice(resumed, 3)) == undisturbed(data, BATCHES + 3)[BATCHES:]


@pytest.mark.parametrize("ahead", [0, 3])
def test_killed_after_any_batch_and_resumed_it_is_the_undisturbed_sequence(data: TrainingSet, ahead: int) -> None:
    expected = undisturbed(data)
    with Loader(data, mixed_order(data), ahead=ahead) as loader:
        states = [loader.state_dict(), *(loader.state_dict() for _ in islice(loader, BATCHES))]
    for killed_after, state in enumerate(states):
        with Loader(data, mixed_order(data), ahead=ahead) as resumed:
            resumed.load_state_dict(json.loads(json.dumps(state)))
            assert seen(islice(resumed, BATCHES - killed_after)) == expected[killed_after:]


def test_a_loader_goes_back_and_goes_on_after_it_was_closed(data: TrainingSet) -> None:
    expected = undisturbed(data)
    loader = Loader(data, mixed_order(data))
    start = loader.state_dict()
    assert seen(islice(loader, 5)) == expected[:5]
    loader.close()  # what was read ahead is read again
    assert seen(islice(loader, 2)) == expected[5:7]
    loader.load_state_dict(start)
    assert seen(islice(loader, 2)) == expected[:2]
    loader.close()


def test_a_table_that_grew_was_compacted_and_cleaned_meanwhile_changes_nothing(tmp_path: Path) -> None:
    spec = mixed_training_set(tmp_path, 16, 16)
    uri = Path(spec["latents_uri"])
    lance.dataset(str(uri)).tags.create("training-set-x", spec["latents_version"])
    data = opened(spec, 16)
    expected = undisturbed(data)
    with Loader(data, mixed_order(data)) as loader:
        found = seen(islice(loader, 4))
        for more in (range(20, 30), range(30, 40)):
            write_table(uri, [sample_row(index, (32, 5, 2, 2)) for index in more], LATENTS, "latent")
        dataset = lance.dataset(str(uri))
        dataset.delete("sample_id in ('s001', 's025')")
        dataset.optimize.compact_files()
        dataset.cleanup_old_versions(timedelta(0), error_if_tagged_old_versions=False, delete_unverified=True)
        found += seen(islice(loader, 2))
        state = loader.state_dict()
    reopened = opened(spec, 16)
    assert reopened.latents.fallback is None
    with Loader(reopened, mixed_order(reopened)) as loader:
        loader.load_state_dict(state)
        assert found + seen(islice(loader, BATCHES - 6)) == expected


def test_read_through_lance_it_is_the_same(data: TrainingSet) -> None:
    expected = undisturbed(data)
    data.latents.fallback = "as on an object store"
    assert undisturbed(data) == expected


def test_the_position_of_another_training_set_is_refused_and_says_what_differs(
    spec: dict[str, Any], data: TrainingSet, tmp_path: Path
) -> None:
    loader = Loader(data, mixed_order(data))
    state = loader.state_dict()
    assert state["uri"] == spec["latents_uri"]
    assert (state["version"], state["digest"], state["seed"]) == (spec["latents_version"], "d1", 1)
    other = opened(mixed_training_set(tmp_path, 16, 16), 16)
    with pytest.raises(OrderError, match=f"is of the uri {spec['latents_uri']}, but here it is {tmp_path}"):
        Loader(other, mixed_order(other)).load_state_dict(state)
    with pytest.raises(OrderError, match=f"is of the version 99, but here it is {spec['latents_version']}"):
        loader.load_state_dict({**state, "version": 99})
    with pytest.raises(OrderError, match="seed"):
        Loader(data, data.order(0.25, 4, 2)).load_state_dict(state)


def test_damage_is_an_error_that_names_the_row_wherever_it_is_read(tmp_path: Path) -> None:
    rows = [sample_row(index, (32, 3, 2, 2)) for index in range(2)]
    rows[1]["latent"] = rows[0]["latent"]
    data = opened(write_training_set(tmp_path, rows, [member(index, "9x16x16@8") for index in range(2)]), 16)
    for workers in (0, 1):
        with (
            Loader(data, data.order(0, 2, 0), workers=workers) as loader,
            pytest.raises(DataError, match=r"^[^\n]*the latent of s001 is damaged[^\n]*$"),
        ):
            next(loader)
        with pytest.raises(DataError, match="s001 is damaged"):  # again, not an end of the data
            next(loader)
        loader.close()


def test_a_worker_that_is_killed_is_an_error_and_the_batches_go_on_where_they_were(data: TrainingSet) -> None:
    expected = undisturbed(data)
    with Loader(data, mixed_order(data), workers=1) as loader:
        found = seen(islice(loader, 2))
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(DataError, match="a process that reads batches failed"):
            for batch in loader:  # what it had read ahead may still come
                found += seen([batch])
        assert not multiprocessing.active_children()
        state = loader.state_dict()
    with Loader(data, mixed_order(data), ahead=0) as resumed:
        resumed.load_state_dict(state)
        assert found + seen(islice(resumed, 2)) == expected[: len(found) + 2]


def test_ranks_that_cannot_share_a_batch_are_refused(data: TrainingSet) -> None:
    with pytest.raises(OrderError, match=r"3 ranks cannot share batches of 4 .* multiple of 3, such as 6"):
        Loader(data, mixed_order(data), world_size=3)
    with pytest.raises(OrderError, match="rank 2 does not exist among 2"):
        Loader(data, mixed_order(data), rank=2, world_size=2)
