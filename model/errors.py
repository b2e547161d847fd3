"""Errors: the base of all that a user can cause or mend, shown without a traceback, and what an error says."""

from __future__ import annotations


class UserError(Exception):
    """Something that whoever runs this can cause or mend; the message says what is wrong, and what to do."""


class ModelError(UserError, ValueError):
    """Something the model side was given cannot be used; the message says what, and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, at most 300 characters; the name of its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


#: What torch says where its CPU allocator gets no memory; on a GPU it raises an `OutOfMemoryError` of its own.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or not."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error).lower() for words in _NO_MEMORY)
    )
