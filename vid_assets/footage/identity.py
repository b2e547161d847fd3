"""Who a file is: the hash of its bytes, and a local path to read it from."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 8 << 20


def file_hash(uri: str) -> str:
    """SHA-256 (hex) of the bytes of a file. Raises OSError where it cannot be read."""
    import fsspec

    sha = hashlib.sha256()
    with fsspec.open(uri, "rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def unreadable_id(content: str | None, uri: str) -> str:
    """The video_id of a file that is no video: of its content and its place, so that two such files do not collide."""
    return hashlib.sha256(f"no video\n{content}\n{uri}".encode()).hexdigest()


def read_text(uri: str) -> str:
    """The text of a small file (UTF-8). Raises OSError, UnicodeDecodeError."""
    import fsspec

    with fsspec.open(uri, "rb") as file:
        return file.read().decode("utf-8-sig")


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """A local path of the file: itself where it is local, else a temporary copy that goes afterwards."""
    if "://" not in uri:
        yield uri
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="vid-assets-") as folder:
        target = Path(folder) / Path(uri).name
        with fsspec.open(uri, "rb") as source, target.open("wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
        yield str(target)
