"""Opening a source as it was hashed: a file that changed since the scan is refused, before and after it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError, first_line
from vid_assets.footage.identity import UNREADABLE, local_copy
from vid_assets.footage.listing import version_now
from vid_assets.footage.membership import seen_version

#: Why a row was not made; it is made once the file was looked at again.
CHANGED = "changed since it was scanned: run `vid-assets scan`, then its batch once more"


class ChangedSinceScanError(UserError, RuntimeError):
    """A file is not the one that was hashed; what would be made from it would carry another content's name."""


def refuse_changed(source: Mapping[str, Any]) -> None:
    """Raise `ChangedSinceScanError` unless the file of a row of `sources` is in the version that the row knows."""
    if version_now(source["uri"]) != seen_version(source):
        raise ChangedSinceScanError(
            f"{source['uri']} changed since it was scanned. Run `vid-assets scan`, then its batch "
            f"{source['ingest_batch']} again; what is finished is kept."
        )


def why_unread(error: ChangedSinceScanError | OSError) -> str:
    """The reason of a row whose file could not be opened as it was hashed: `CHANGED`, or what the system says."""
    if isinstance(error, ChangedSinceScanError):
        return CHANGED
    return f"{UNREADABLE}: {error.strerror or first_line(error)}"


@contextlib.contextmanager
def opened(source: Mapping[str, Any]) -> Iterator[str]:
    """A local path of a present source. Raises `ChangedSinceScanError`; OSError where it cannot be read."""
    refuse_changed(source)
    with local_copy(source["uri"]) as path:
        yield path
    refuse_changed(source)
