"""Measuring beside decoding. Belongs here: feeding pictures to measures in threads of their own, in order.

libav and OpenCV let other threads run while they work, so two lanes and the decoder keep about three cores busy. Each
measure stays in one lane and gets its pictures in order, so what it finds does not depend on the lanes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import cv2

from vid_assets.curation.measures import Measure
from vid_assets.curation.picture import Picture

#: Groups that share the second lane; all others share the first. They cost about the same.
_SECOND = frozenset({"change", "motion", "transnet"})
#: Pictures that wait at most, and the bytes of full-size frames that they may hold.
_WAITING, _WAITING_BYTES = 8, 256 << 20


class Lanes:
    """Feeds pictures to measures until the context ends; an error of a measure is raised here."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        lanes = (
            [item for name, item in measures.items() if name not in _SECOND],
            [item for name, item in measures.items() if name in _SECOND],
        )
        self._lanes = [(ThreadPoolExecutor(1, "measure"), items) for items in lanes if items]
        self._waiting: deque[list[Future[None]]] = deque()

    def __enter__(self) -> Lanes:
        # On pictures this small, OpenCV's own threads cost more than they bring, and get in the lanes' way
        self._threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._waiting and error is None:
                self._settle()
        finally:
            for executor, _ in self._lanes:
                executor.shutdown(wait=True, cancel_futures=True)
            cv2.setNumThreads(self._threads)

    def feed(self, picture: Picture, frame_bytes: int) -> None:
        """Measure the next picture in presentation order; it holds a frame of `frame_bytes` until then."""
        if not self._lanes:
            return
        picture.prepare()
        self._waiting.append([executor.submit(_measure, items, picture) for executor, items in self._lanes])
        while len(self._waiting) > max(1, min(_WAITING, _WAITING_BYTES // max(1, frame_bytes))):
            self._settle()

    def _settle(self) -> None:
        for future in self._waiting.popleft():
            future.result()


def _measure(items: list[Measure], picture: Picture) -> None:
    for item in items:
        item.add(picture)
