"""The process that reads source files for another: `python -m vid_assets.footage.worker`, started by `isolation`.

Belongs here: what happens inside that process. Requests come over standard input and answers go over what was
standard output; whatever libraries print goes to standard error, which the parent keeps for the record.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vid_assets.footage import heartbeat

#: Printed after each request, so that the parent knows that all output before it belongs to it.
END_OF_OUTPUT = "vid-assets: end of output"
_BEAT_EVERY_S = 0.5


def main() -> None:
    """Answer requests one after another until standard input is closed, which the end of the parent also does."""
    requests, answers = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # libraries that print must not end up between the answers
    _log_to_standard_error()
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    answers.send("ready")
    while True:
        _answer(answers, waiting.get())


def _receive(requests: Connection, waiting: queue.SimpleQueue[bytes]) -> None:
    """Take requests; once the parent is gone, end this process in the midst of whatever it does."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            waiting.put(requests.recv_bytes())
    os.kill(os.getpid(), signal.SIGKILL)


def _answer(answers: Connection, request: bytes) -> None:
    last = time.monotonic()

    def tell(frames: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _BEAT_EVERY_S:
            last = time.monotonic()
            answers.send(("beat", frames))

    heartbeat.listen(tell)
    try:
        function, args, memory_bytes = _understood(request)
        _limit_memory(memory_bytes)
        answer = pickle.dumps(("done", function(*args)))
    except MemoryError:
        answer = pickle.dumps(("memory", None))
    except ImportError as error:  # by what is installed, whichever file is read
        traceback.print_exc(limit=-3)
        answer = pickle.dumps(("broken", f"{type(error).__name__}: {error}"[:300]))
    except OSError as error:
        answer = pickle.dumps(("raised", error))
    except Exception as error:
        traceback.print_exc(limit=-3)
        kind = "memory" if _is_want_of_memory(error) else "failed"
        answer = pickle.dumps((kind, f"{type(error).__name__}: {error}"[:300]))
    heartbeat.listen(None)
    sys.stderr.flush()
    os.write(2, f"\n{END_OF_OUTPUT}\n".encode())
    answers.send_bytes(answer)


def _understood(request: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], int]:
    """The function, its arguments and the memory for it. Raises `ImportError` where it cannot be imported here."""
    try:
        return pickle.loads(request)
    except AttributeError as error:
        raise ImportError(str(error)) from error


def _is_want_of_memory(error: Exception) -> bool:
    """Whether OpenCV could not allocate (its error -4)."""
    return getattr(error, "code", None) == -4 and type(error).__module__ == "cv2"


def _limit_memory(memory_bytes: int) -> None:
    """Bound the memory that is taken from now on, where the system knows such a limit (Linux)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])  # of data and stacks
        soft, hard = pages * resource.getpagesize() + memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _log_to_standard_error() -> None:
    import av

    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    warnings.simplefilter("always")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vid_assets.footage").setLevel(logging.DEBUG)


if __name__ == "__main__":
    main()
