"""Signs of life of a long read, for whoever waits for it. Belongs here: the one hook that readers call.

In a process of its own (`worker`) the hook tells the parent; elsewhere nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[int], None] | None = None
_done = 0


def beat(frames: int | None = None) -> None:
    """Tell the listener, if there is one, that the work goes on, and how many frames are done (None: as before)."""
    global _done
    if frames is not None:
        _done = frames
    if _listener is not None:
        _listener(_done)


def listen(listener: Callable[[int], None] | None) -> None:
    """Have `listener` called with every beat from now on; None for nobody."""
    global _listener, _done
    _listener, _done = listener, 0
