"""Batches ahead of time: one rank's part of the order, read by a thread or by worker processes, with an exact position.

The order is drawn in the main process alone, so that it is the same for any number of workers, and ranks take turns in
each batch, so that it is the same for any number of ranks. Each batch in flight carries the position behind it: what
was read ahead and not used is drawn again on resume. Belongs here: who reads what when; which samples come is
`model.data.order`'s, their bytes are `model.data.training_set`'s.
"""

from __future__ import annotations

import copy
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from model.data.blobs import DataError
from model.data.order import BatchOrder, Group, OrderError, part_of
from model.data.training_set import Allocate, Batch, TrainingSet, plain_memory
from model.errors import ModelError

#: Position behind a batch, and one rank's part of it.
_Request = tuple[dict[str, Any], list[Group]]


class Loader:
    """An endless iterator over batches; each is a list of `Batch`, one for each of its buckets.

    To be closed after use, or used as a context. Batches are copied once, from the map into their own memory.

    Args:
        data: the training set.
        order: the order of its batches, at its start or at a loaded position; the loader goes on from a copy.
        rank: which of the ranks this is, 0 to world_size - 1.
        world_size: how many ranks share each batch; must divide every batch size of the order.
        workers: processes that read; 0 reads in a thread of this one, which is faster where bytes are mapped and
            nothing else holds the interpreter. They are spawned: Lance does not survive a fork.
        ahead: batches read ahead by the thread, or by each worker; 0, without workers, reads when asked.
        pin: whether batches lie in pinned memory, from where a GPU fetches them asynchronously.

    Raises:
        OrderError: ranks cannot share the batch size equally, or a rank does not exist.
    """

    def __init__(
        self,
        data: TrainingSet,
        order: BatchOrder,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        ahead: int = 2,
        pin: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise OrderError(f"rank {rank} does not exist among {world_size}")
        for size in order.batch_sizes.values():
            if size % world_size:
                raise OrderError(
                    f"{world_size} ranks cannot share batches of {size} samples equally; make batch_size a multiple of "
                    f"{world_size}, such as {-(-size // world_size) * world_size}, or change the number of processes"
                )
        self._data, self._order = data, copy.deepcopy(order)
        self._rank, self._world_size = rank, world_size
        self._workers, self._ahead, self._pin = workers, ahead, pin
        self._state = self._order.state_dict()
        self._batches: Iterator[tuple[dict[str, Any], list[Batch]]] | None = None

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> list[Batch]:
        if self._batches is None:
            self._batches = self._by_workers() if self._workers else self._by_thread()
        try:
            self._state, batch = next(self._batches)
        except BaseException:
            self.close()  # or the next call would find an iterator that has ended, as if the data had
            raise
        return batch

    @property
    def kinds(self) -> dict[str, str]:
        """Bucket -> `image` or `video`."""
        return self._order.kinds

    @property
    def used(self) -> dict[str, int]:
        """Samples given out so far, over all ranks and resumes, by bucket."""
        return dict(self._state["used"])

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch that was given out, as JSON; the same on every rank."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position. Raises `OrderError` where it is one of another training set, seed or mix."""
        self._order.load_state_dict(state)
        self._state = self._order.state_dict()
        self.close()  # now that nothing can refuse any more

    def close(self) -> None:
        """End the thread or the workers; what was read ahead is dropped, and would be read again."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # both are generators
            self._batches = None
        self._order.load_state_dict(self._state)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _requests(self) -> Iterator[_Request]:
        for batch in self._order:
            yield self._order.state_dict(), part_of(batch, self._rank, self._world_size)

    def _by_thread(self) -> Iterator[tuple[dict[str, Any], list[Batch]]]:
        requests, reader = self._requests(), _Reader(self._data, _pinned_memory if self._pin else plain_memory)
        if not self._ahead:
            yield from map(reader.read, requests)
        pending: deque[Future[tuple[dict[str, Any], list[Batch]]]] = deque()
        thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        try:
            while True:
                while len(pending) <= self._ahead:
                    pending.append(thread.submit(reader.read, next(requests)))
                yield pending.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)

    def _by_workers(self) -> Iterator[tuple[dict[str, Any], list[Batch]]]:
        batches = iter(
            DataLoader(
                _Reader(self._data, _shared_memory),
                sampler=_Endless(self._requests),
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=self._workers,
                prefetch_factor=max(1, self._ahead),
                multiprocessing_context="spawn",
                worker_init_fn=_leave_interrupts,
                pin_memory=self._pin,
            )
        )
        try:
            for found in batches:
                if isinstance(found, ModelError):
                    raise found
                state, parts = found
                yield state, [_unpack(part) for part in parts]
        except (RuntimeError, EOFError, OSError) as error:  # a worker was killed, maybe while it handed a batch over
            raise DataError(f"a process that reads batches failed: {str(error) or type(error).__name__}") from error
        finally:
            batches._shutdown_workers()  # type: ignore[attr-defined]  # at once, not when the garbage is collected


class _Reader(Dataset[Any]):
    """Reads requests, in this process or in a worker."""

    def __init__(self, data: TrainingSet, allocate: Allocate) -> None:
        self._data, self._allocate = data, allocate

    def read(self, request: _Request) -> tuple[dict[str, Any], list[Batch]]:
        state, groups = request
        return state, [self._data.read(ids, self._allocate) for _, ids in groups]

    def __getitem__(self, request: _Request) -> Any:
        """As `read`, packed for another process; an error of ours as a value, since torch would bury it in a trace."""
        try:
            state, batches = self.read(request)
        except ModelError as error:
            return error
        return state, [_pack(batch) for batch in batches]


class _Endless(torch.utils.data.Sampler[Any]):
    """Requests as a sampler: drawn in the main process, in order, whoever reads them."""

    def __init__(self, requests: Callable[[], Iterator[_Request]]) -> None:
        self._requests = requests

    def __iter__(self) -> Iterator[_Request]:
        return self._requests()


def _pack(batch: Batch) -> tuple[Batch, dict[str, torch.Tensor]]:
    """A batch as few tensors: each one that goes to another process takes a file descriptor there."""
    tensors = {"latents": batch.latents}
    lengths: dict[str, Any] = {}
    for kind, states in batch.states.items():
        lengths[kind] = [None if one is None else len(one) for one in states]
        present = [one for one in states if one is not None]
        if present:
            size = sum(one.nbytes for one in present)
            shared = _shared_memory(size).view(torch.float32).view(-1, present[0].shape[1])
            tensors[kind] = torch.cat(present, out=shared)
    return replace(batch, latents=None, states=lengths), tensors  # type: ignore[arg-type]


def _unpack(packed: tuple[Batch, dict[str, torch.Tensor]]) -> Batch:
    batch, tensors = packed
    states: dict[str, list[torch.Tensor | None]] = {}
    lengths: Mapping[str, Any] = batch.states
    for kind, counts in lengths.items():
        pieces = iter(tensors[kind].split([one for one in counts if one is not None]) if kind in tensors else ())
        states[kind] = [None if one is None else next(pieces) for one in counts]
    return replace(batch, latents=tensors["latents"], states=states)


def _pinned_memory(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


def _shared_memory(size: int) -> torch.Tensor:
    """Memory that the main process can map: what is written here is not copied again."""
    storage = torch.UntypedStorage._new_shared(size)
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]


def _as_it_is(value: Any) -> Any:
    return value


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the main process decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
