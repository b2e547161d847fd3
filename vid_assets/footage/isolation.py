"""Reading source files in a process of its own, within limits. Belongs here: that process as the parent sees it.

A file may crash a decoder, hang it, or ask for all memory and days of time. There is one worker for each parent
process, started with the first call and again after it had to be killed; frames never leave it, only what was measured.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from vid_assets.footage.settings import Decoding
from vid_assets.footage.worker import END_OF_OUTPUT

Result = TypeVar("Result")

#: Seconds of work allowed for each second of footage, beside `time_limit_s`.
SECONDS_PER_SECOND = 20.0
#: Bytes that count as a second of footage where the header does not say how long it is (1 Mbit/s).
_BYTES_PER_SECOND = 125_000
_LOG_LINES = 12
_LINE_LENGTH = 300
_REPO = Path(__file__).resolve().parents[2]


class UnfinishedError(Exception):
    """A file could not be read to its end; `reason` says why, `limit` which of `config.Decoding` stopped it and at
    what value (None: it failed or crashed), `log` what the decoders printed before."""

    def __init__(self, reason: str, limit: tuple[str, float] | None, log: str | None) -> None:
        super().__init__(reason)
        self.reason, self.limit, self.log = reason, limit, log


@dataclass(frozen=True)
class Answer:
    """What the call gave, and what the decoders printed meanwhile (None: nothing)."""

    value: Any
    log: str | None


class Worker:
    """The process, and the pipes to it. One call at a time; other threads wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._output: _Output
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        limits: Decoding,
        footage_s: float = 0.0,
        progress: Callable[[int], None] | None = None,
    ) -> Answer:
        """`function(*args)` in the worker, which must be able to import it.

        `footage_s` extends the time that it may take, `progress` is told the number of frames done about twice a
        second. An `OSError` is raised here as well; `UnfinishedError` where the call fails otherwise, crashes, or is
        stopped by a limit. What cannot be imported there is no fault of the file: a `RuntimeError`.
        """
        with self._lock:
            self._start()
            request = (function, args, int(limits.memory_gb * 2**30))
            try:
                try:
                    self._requests.send(request)
                except BrokenPipeError:  # it ended since the last call, which is no fault of this one's file
                    self.stop()
                    self._start()
                    self._requests.send(request)
                return self._wait(limits, footage_s, progress)
            except BaseException:
                # Whatever went wrong, the worker may still be at it, and its answer would be taken for the next
                self.stop()
                raise

    def _wait(self, limits: Decoding, footage_s: float, progress: Callable[[int], None] | None) -> Answer:
        started = heard = time.monotonic()
        allowed = limits.time_limit_s + SECONDS_PER_SECOND * footage_s
        while True:
            ends = min(started + allowed, heard + limits.stall_s)
            if not self._answers.poll(max(0.0, ends - time.monotonic())):
                raise self._late(limits, footage_s, stalled=heard + limits.stall_s < started + allowed)
            try:
                kind, value = self._answers.recv()
            except (EOFError, OSError):
                raise self._crashed(limits) from None
            heard = time.monotonic()
            if kind == "beat":
                if progress is not None:
                    progress(value)
            elif kind == "memory":
                reason = f"reading it takes more memory than decoding.memory_gb = {limits.memory_gb:g}"
                raise UnfinishedError(reason, ("memory_gb", limits.memory_gb), self._output.text())
            elif kind == "failed":
                self._output.wait()
                raise UnfinishedError(f"reading it failed with {value}", None, self._output.text())
            elif kind == "broken":
                self._output.wait()
                raise RuntimeError(f"the process that reads files lacks something: {value}\n{self._output.text()}")
            elif kind == "raised":
                self._output.wait()
                raise value
            else:
                self._output.wait()
                return Answer(value, self._output.text())

    def _late(self, limits: Decoding, footage_s: float, stalled: bool) -> UnfinishedError:
        if stalled:
            reason = f"the decoder stands still: nothing for decoding.stall_s = {limits.stall_s:g} s"
            return UnfinishedError(reason, ("stall_s", limits.stall_s), self._output.text())
        added = f" + {SECONDS_PER_SECOND:g} x {footage_s:.0f}" if footage_s else ""
        reason = f"reading it takes longer than decoding.time_limit_s = {limits.time_limit_s:g}{added} s"
        return UnfinishedError(reason, ("time_limit_s", limits.time_limit_s), self._output.text())

    def _crashed(self, limits: Decoding) -> UnfinishedError:
        assert self._process is not None
        code = self._process.wait()
        self._output.join()
        if code == -signal.SIGKILL:
            reason = "the system ended its reading, probably for want of memory"
            reason += f"; decoding.memory_gb = {limits.memory_gb:g}"
            return UnfinishedError(reason, ("memory_gb", limits.memory_gb), self._output.text())
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return UnfinishedError(f"the decoder crashed on it ({name})", None, self._output.text())

    def _start(self) -> None:
        """Have a worker that lives and is ours: after a fork, the parent's is not."""
        if self._process is not None and self._parent == os.getpid() and self._process.poll() is None:
            self._output.clear()
            return
        if self._parent == os.getpid():
            self.stop()
        path = os.pathsep.join(filter(None, [str(_REPO), os.environ.get("PYTHONPATH")]))
        self._parent = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vid_assets.footage.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # an interrupt from the keyboard is for the parent
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._requests = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._answers = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()
        self._output = _Output(self._process.stderr)
        try:
            self._answers.recv()  # that it is ready
        except EOFError:
            self.stop()
            raise RuntimeError(f"the process that reads files does not start:\n{self._output.text()}") from None
        self._output.clear()

    def stop(self) -> None:
        """End the worker, whatever it does."""
        if self._process is None or self._parent != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        self._output.join()
        self._requests.close()
        self._answers.close()
        self._process = None


class _Output:
    """What the worker prints: lines that differ in numbers only are counted as one, and only so many are kept."""

    def __init__(self, pipe: Any) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.clear()
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def clear(self) -> None:
        with self._lock:
            self._ended.clear()
            self._lines: dict[str, tuple[str, int]] = {}
            self._dropped = 0

    def wait(self) -> None:
        """Until everything that belongs to the call has been read."""
        self._ended.wait(10.0)

    def join(self) -> None:
        self._thread.join(10.0)

    def text(self) -> str | None:
        """The lines with their counts, None where nothing was printed."""
        with self._lock:
            lines = [f"{line} ({n} times)" if n > 1 else line for line, n in self._lines.values()]
            if self._dropped:
                lines.append(f"{self._dropped} more lines")
        return "\n".join(lines) or None

    def _read(self, pipe: Any) -> None:
        with pipe:
            while raw := pipe.readline(4096):
                line = raw.decode("utf-8", "replace").strip()[:_LINE_LENGTH]
                if line == END_OF_OUTPUT:
                    self._ended.set()
                elif line:
                    self._add(re.sub(r" @ 0x[0-9a-f]+\]", "]", line))
        self._ended.set()

    def _add(self, line: str) -> None:
        key = re.sub(r"-?(0x[0-9a-f]+|\d+)", "0", line)
        with self._lock:
            if key in self._lines or len(self._lines) < _LOG_LINES:
                first, n = self._lines.get(key, (line, 0))
                self._lines[key] = first, n + 1
            else:
                self._dropped += 1


_worker = Worker()
atexit.register(_worker.stop)


def isolated(
    function: Callable[..., Any],
    *args: Any,
    limits: Decoding,
    footage_s: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Answer:
    """`function(*args)` in this process's worker; see `Worker.call`."""
    return _worker.call(function, *args, limits=limits, footage_s=footage_s, progress=progress)


def claimed_seconds(duration_s: float | None, size_bytes: int) -> float:
    """Seconds of footage that a file claims to hold; of its size, where its header does not say."""
    return size_bytes / _BYTES_PER_SECOND if duration_s is None else duration_s


def limit_was_raised(row: Any, limits: Decoding) -> bool:
    """Whether a row with `hit_limit` and `limit_value` failed by a limit that is higher now."""
    return row["hit_limit"] is not None and getattr(limits, row["hit_limit"]) > row["limit_value"]
