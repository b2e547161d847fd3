"""The encoding backend `ray`: a pool of Ray Data actors, one VAE each, and the rows back to the one who commits.

Every actor does what `LocalBackend` does, on whole sources, so keys and values are those of `local`. A cluster is found
by `RAY_ADDRESS`; without one, Ray is started on this machine. On a cluster, the footage, the weights and this package
are at the same paths on every machine. What is encoded but not yet handed over is lost when the run is killed: some
blocks of windows for each actor, beside the flush.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from vid_assets.encoding.backend import Encode, LocalBackend, Row
from vid_assets.encoding.frames import Task, by_source
from vid_assets.section import ConfigError

#: Batches that one call of an actor makes at least, where there are as many: enough to decode ahead, few enough to
#: spread the work and to hand rows over soon.
_BATCHES_A_CALL = 4


class RayBackend:
    """Makes latents in `actors` processes; None takes one for each GPU of the cluster, or one where there is none.

    `encode` is the encoding function, which travels to the actors: its VAE is loaded there, on the actor's own GPU
    unless `on_gpu` is False. `batch_size` and `decoders` are those of each actor's `LocalBackend`.
    """

    def __init__(
        self, encode: Encode, batch_size: int, decoders: int | None, actors: int | None, on_gpu: bool = True
    ) -> None:
        try:
            import ray.data  # noqa: F401
        except ImportError:
            raise ConfigError(
                "encoding.backend is ray, which is not installed: pip install 'vid_assets[ray]', or take local"
            ) from None
        self._encode, self._batch_size, self._decoders = encode, batch_size, decoders
        self._actors, self._on_gpu = actors, on_gpu

    def batches(self, tasks: Sequence[Task]) -> Generator[list[Row], None, None]:
        """See `backend.Backend`. An error that is no row's, such as a changed file, is raised here."""
        if not tasks:
            return
        import ray

        started = not ray.is_initialized()
        if started:
            local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **local)
        try:
            for answer in self._answers(tasks):
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            if started:
                ray.shutdown()

    def _answers(self, tasks: Sequence[Task]) -> Iterator[list[Row] | Exception]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        DataContext.get_current().enable_progress_bars = False
        gpus = int(ray.cluster_resources().get("GPU", 0)) if self._on_gpu else 0
        calls = [pickle.dumps(call) for call in self._calls(tasks)]
        actors = min(self._actors or max(1, gpus), len(calls))
        found = ray.data.from_items([{"call": call} for call in calls], override_num_blocks=len(calls)).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(self._encode, self._batch_size, self._decoders),
            compute=ActorPoolStrategy(size=actors),
            num_gpus=1 if gpus else 0,
        )
        for row in found.iter_rows():
            yield pickle.loads(row["answer"])

    def _calls(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Whole sources together, until there are some batches of windows."""
        call: list[Task] = []
        for source in by_source(tasks):
            call += source
            if len(call) >= _BATCHES_A_CALL * self._batch_size:
                yield call
                call = []
        if call:
            yield call


class _Actor:
    """One VAE in a process of its own."""

    def __init__(self, encode: Encode, batch_size: int, decoders: int | None) -> None:
        self._backend = LocalBackend(encode, batch_size, decoders)

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        (call,) = batch["call"]
        try:
            for rows in self._backend.batches(pickle.loads(call)):
                yield _answer(rows)
        except Exception as error:  # told to the one who commits, who keeps what came before it
            yield _answer(error)


def _answer(value: Any) -> dict[str, np.ndarray]:
    return {"answer": np.array([pickle.dumps(value)], dtype=object)}
