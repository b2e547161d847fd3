"""The command `python -m model.train`: how a training run is started, watched and stopped.

With `runtime.processes` above one it starts so many workers and watches them (`model.training.launch`); where torchrun
has set RANK, it is a worker. Exit codes: 0 trained to the end, 75 stopped on request with its state saved (run it
again to go on), 1 an error that the last line of standard error explains, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from model.errors import ModelError, first_line
from model.manifest import Manifest, read_manifest
from model.training.launch import LOST, STOPPED, count_of, is_worker, launch
from model.training.reporting import Silent


class StopRequest:
    """Notices SIGTERM, SIGINT and the death of the parent. `reason` is None until one of them came.

    A parent that is killed cannot stop its children, so a thread asks each second whether it is still the parent.
    """

    def __init__(self, parent_pid: int | None) -> None:
        self._reason: str | None = None
        self._parent_pid = parent_pid
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if parent_pid is not None:
            threading.Thread(target=self._watch, name="parent-watch", daemon=True).start()

    def reason(self) -> str | None:
        """Why the run should stop, None while it should not."""
        self._check_parent()
        return self._reason

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reason = self._reason or f"received {signal.Signals(number).name}"

    def _check_parent(self) -> None:
        if self._parent_pid is not None and os.getppid() != self._parent_pid:
            self._reason = self._reason or f"the process that started this run (pid {self._parent_pid}) is gone"

    def _watch(self) -> None:
        while self._reason is None:
            time.sleep(1.0)
            self._check_parent()


class JsonLines:
    """The default reporter: one JSON object a line on standard output."""

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        self._print({"event": "progress", "step": step, "total": total, **metrics})

    def checkpoint(self, folder: str, step: int) -> None:
        self._print({"event": "checkpoint", "step": step, "folder": folder})

    def finished(self, summary: dict[str, Any]) -> None:
        self._print({"event": "finished", **summary})

    def _print(self, event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)


@contextlib.contextmanager
def json_lines() -> Iterator[JsonLines]:
    """The default reporter as a context."""
    yield JsonLines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description="Train from a manifest.")
    parser.add_argument("--manifest", required=True, help="the training manifest, a JSON file")
    parser.add_argument("--report", default="model.train:json_lines", help="module:attribute; a context of a reporter")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is no longer the parent")
    options = parser.parse_args(arguments)
    stop = StopRequest(options.parent_pid)
    try:
        manifest = read_manifest(options.manifest)
        reporter = _load_reporter(options.report)
        runtime = manifest.runtime
        count = 1 if is_worker() else count_of(runtime.processes, runtime.device)
        if count > 1:
            command = [sys.executable, "-m", "model.train", "--manifest", options.manifest, "--report", options.report]
            return launch(count, command, stop.reason)
        return _train(manifest, reporter, stop)
    except ModelError as error:
        _say(f"error: {error}")
        return 1


def _train(manifest: Manifest, reporter: Any, stop: StopRequest) -> int:
    """Train in this process, which may be one of several."""
    from model.training.parallel import Stopped, is_loss_of_another
    from model.training.trainer import train  # torch and diffusers: seconds, so only for a sound request

    first = os.environ.get("RANK", "0") == "0"
    try:
        with reporter() if first else contextlib.nullcontext(Silent()) as report:
            train(manifest, report, stop.reason)
    except Stopped as stopped:
        if first:
            _say(str(stopped))
        return STOPPED
    except RuntimeError as error:
        if is_worker() and is_loss_of_another(error):
            _say(f"error: another process of this run is gone: {first_line(error)}")
            return LOST
        raise
    return 0


def _load_reporter(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"--report {name}: {error}; give module:attribute") from None


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a parent that is gone took the pipe with it
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # or the interpreter would end with a code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
