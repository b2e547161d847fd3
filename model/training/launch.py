"""Starts the processes of one machine that train together, and ends them together. Imports torch only to count GPUs.

torchrun does as well, and is the way to several machines: a process that finds RANK set is a worker of whoever started
it. This launcher differs in how a run ends: a request to stop reaches all processes, which have as long as they need to
save; the exit code and the last line of standard error are those of the process that failed first; and the
processes need no port, but meet at a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from model.errors import ModelError

#: Exit code of a run that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h.
STOPPED = 75
#: Exit code of a process that ended because another one of its run did.
LOST = 76
#: Seconds that the others have to end by themselves, once one has failed.
_GRACE_S = 3.0


def is_worker() -> bool:
    """Whether this process is one of several that somebody started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def count_of(processes: int | None, device: str) -> int:
    """How many processes to start here for a run on `device`: so many as are said, or one for each GPU, or one."""
    if processes is not None:
        return processes
    if device == "cpu":
        return 1
    import torch

    return max(1, torch.cuda.device_count()) if device in ("auto", "cuda") else 1


def launch(count: int, command: Sequence[str], stop_reason: Callable[[], str | None]) -> int:
    """Run a command in `count` processes to their common end.

    Args:
        count: how many.
        command: for all of them, to which `--parent-pid PID` is added. Each knows who it is from its environment, as
            under torchrun.
        stop_reason: asked while they run; a text means: ask them to stop.

    Returns:
        0, or `STOPPED` where they stopped and can go on.

    Raises:
        ModelError: one of them failed; the others were ended within seconds.
    """
    with tempfile.TemporaryDirectory(prefix="model-train-") as folder:
        workers = [_Worker(rank, count, command, Path(folder)) for rank in range(count)]
        try:
            codes, order = _wait(workers, stop_reason)
        finally:
            for worker in workers:
                worker.end()
    if stop_reason():  # a signal that came before a process could handle it
        codes = [STOPPED if code == -signal.SIGTERM else code for code in codes]
    failed = {worker.rank: code for worker, code in zip(workers, codes, strict=True) if code not in (0, STOPPED)}
    if failed:
        # the first is the cause, but one that lost another, or was still running, says nothing of it
        rank = min(failed, key=lambda rank: (failed[rank] in (LOST, None), order.index(rank)))
        raise ModelError(workers[rank].fate(failed[rank]))
    return STOPPED if STOPPED in codes else 0


class _Worker:
    """One of the processes; what it says on standard error is passed on, and its last line remembered."""

    def __init__(self, rank: int, count: int, command: Sequence[str], folder: Path) -> None:
        self.rank, self._count = rank, count
        self._last = ""
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MODEL_TRAIN_MEETING": f"file://{folder}/meeting",
        }
        environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns that it looks for unused weights
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on this machine, whatever its name resolves to
        self.process = subprocess.Popen(
            [*command, "--parent-pid", str(os.getpid())],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._pass_on, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Kill it if it still runs, and read what is left of its words."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(timeout=1.0)

    def fate(self, code: int | None) -> str:
        """How it ended, in words."""
        who = f"process {self.rank} of {self._count}"
        if code is not None and code < 0:
            why = " (the kernel does that where memory runs out)" if code == -signal.SIGKILL else ""
            killed = f"{who} was killed by {signal.Signals(-code).name}{why}"
            return f"{killed}; started again, the run goes on from its last checkpoint"
        said = self._last.removeprefix("error: ")
        return f"{said} ({who})" if code == 1 and said else f"{who} ended with exit code {code}: {said}"

    def _pass_on(self, stream: IO[str]) -> None:
        for line in stream:
            if line.strip():
                self._last = line.strip()
            try:
                sys.stderr.write(line)
                sys.stderr.flush()
            except OSError:  # nobody reads any more; the worker must not wait for that
                pass


def _wait(workers: Sequence[_Worker], stop_reason: Callable[[], str | None]) -> tuple[list[int | None], list[int]]:
    """The exit codes, once all have ended, or some time after one has failed, and the ranks as they ended.

    A code is None, and its rank comes last, where the process still runs.
    """
    asked, deadline = False, None
    order: list[int] = []
    while True:
        codes = [worker.process.poll() for worker in workers]
        ended = [worker.rank for worker, code in zip(workers, codes, strict=True) if code is not None]
        # of those that ended since the last look, one that was killed first: it did not end because of another
        order += sorted(set(ended) - set(order), key=lambda rank: ((codes[rank] or 0) >= 0, rank))
        if len(ended) == len(codes):
            return codes, order
        if deadline is None and any(code not in (None, 0, STOPPED) for code in codes):
            deadline = time.monotonic() + _GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return codes, order + [worker.rank for worker in workers if worker.rank not in order]
        if not asked and stop_reason():
            asked = True
            for worker in workers:
                worker.process.terminate()
        time.sleep(0.05)
