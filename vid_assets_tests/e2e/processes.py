"""Dagster processes for tests: started in a group of their own, and ended with all their children.

They are ended too when the test run itself is killed: Linux then sends them the signal that ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


class Process:
    """A running process and its log."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen, self.log = popen, log

    def wait_for(self, what: str, happened: Callable[[], bool], seconds: float) -> None:
        """Wait until something happened. Fails with the end of the log when the process ended or it took too long."""
        until = time.monotonic() + seconds
        while not happened():
            ended = self.popen.poll() is not None
            if ended or time.monotonic() > until:
                why = f"the process ended with {self.popen.returncode}" if ended else f"not within {seconds:.0f} s"
                raise AssertionError(f"{what}: {why}\n{self.tail()}")
            time.sleep(0.5)

    def tail(self, characters: int = 6000) -> str:
        """The end of the log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]


@contextlib.contextmanager
def started(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, patience_s: float = 20.0
) -> Iterator[Process]:
    """Run `python ARGUMENTS` for the length of the block, then end it and every process that it started."""
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, *arguments],
            env=dict(environment),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        yield Process(popen, log)
    finally:
        _end(popen, patience_s)


def _end(popen: subprocess.Popen[bytes], patience_s: float) -> None:
    import psutil

    try:
        children = psutil.Process(popen.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    with contextlib.suppress(ProcessLookupError):
        popen.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    for child in children:  # those that left the group
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    popen.wait(10)
    psutil.wait_procs(children, timeout=10)
