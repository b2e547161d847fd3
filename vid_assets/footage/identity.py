"""Who a file is: the store that it lies in, the hash of its bytes, and a local path to read it from."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 8 << 20
#: Begins the reason where the system would not give a file at that moment, which says nothing of what is in it.
UNREADABLE = "cannot be read"


def is_local(uri: str) -> bool:
    """Whether it is a path of this machine; whatever else a name holds (`::`, `#`, `%`) is part of the name."""
    return "://" not in uri


def file_system(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a uri, and the path in it."""
    import fsspec

    return (fsspec.filesystem("file"), uri) if is_local(uri) else fsspec.core.url_to_fs(uri)


def open_file(uri: str) -> AbstractContextManager[BinaryIO]:
    """A file to be read. Raises OSError where it cannot be."""
    fs, path = file_system(uri)
    found: AbstractContextManager[BinaryIO] = fs.open(path, "rb")
    return found


def file_hash(uri: str) -> str:
    """SHA-256 (hex) of the bytes of a file. Raises OSError where it cannot be read."""
    sha = hashlib.sha256()
    with open_file(uri) as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def unreadable_id(content: str | None, uri: str) -> str:
    """The video_id of a file that is no video: of its content and its place, so that two such files do not collide."""
    return hashlib.sha256(f"no video\n{content}\n{uri}".encode()).hexdigest()


def read_text(uri: str) -> str:
    """The text of a small file (UTF-8). Raises OSError, UnicodeDecodeError."""
    with open_file(uri) as file:
        return file.read().decode("utf-8-sig")


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """A local path of the file: itself where it is local, else a temporary copy that goes afterwards."""
    if is_local(uri):
        yield uri
        return
    with tempfile.TemporaryDirectory(prefix="vid-assets-") as folder:
        target = Path(folder) / Path(uri).name
        with open_file(uri) as source, target.open("wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
        yield str(target)
