"""Drawing from several iterators in threads, ahead of who uses it and no further than there is room."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_ENDED = object()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def in_threads(sources: Iterable[Iterable[T]], threads: int, room: int) -> Generator[T, None, None]:
    """The items of all `sources`, each source drawn from in one of `threads` threads, at most `room` items ahead.

    Items of one source keep their order. What a source raises is raised here, and ends the others; so does closing.
    """
    found: queue.Queue[Any] = queue.Queue(room)
    left, turn, stop = iter(sources), threading.Lock(), threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return found.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            while not stop.is_set():
                with turn:
                    source = next(left, None)
                if source is None:
                    break
                for item in source:
                    put(item)
                    if stop.is_set():
                        return
        except BaseException as error:
            put(_Raised(error))
        finally:
            put(_ENDED)

    workers = [threading.Thread(target=work, name=f"decoding-{number}", daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        running = threads
        while running:
            item = found.get()
            if item is _ENDED:
                running -= 1
            elif isinstance(item, _Raised):
                raise item.error
            else:
                yield item
    finally:
        stop.set()
        for worker in workers:
            worker.join()
