"""Where a home lies, and its small files: a local folder, or an object store with a local folder beside it.

In an object store lie the tables and the states: all that others need to go on from. On the local disk lie locks,
checkpoints, evaluations, pictures and what is remembered of files. So one machine writes to a home at a time; any may
read it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def is_remote(home: str) -> bool:
    """Whether a home is in an object store."""
    return "://" in home


def local_folder(home: str) -> Path:
    """The local folder of a home: itself, or that of an object store's, below `VID_ASSETS_LOCAL` (default `data`)."""
    if not is_remote(home):
        return Path(home)
    base = Path(os.environ.get("VID_ASSETS_LOCAL") or "data").expanduser().resolve()
    return base / home.partition("://")[2].strip("/").replace("/", "_")


class Files:
    """Small files below a root, by relative path; written whole or not at all."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        return Path(self.root, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file; its bytes are on the disk, and whoever reads it sees all of the old ones or of the new ones."""
        path = Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".tmp-{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def remove(self, name: str) -> None:
        """Remove a file that may be there."""
        Path(self.root, name).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """The size of every file below the root, by relative path."""
        root = Path(self.root)
        return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


class RemoteFiles(Files):
    """Files as objects of a store that fsspec knows. An object is put whole, so a write is one step."""

    def __init__(self, root: str) -> None:
        import fsspec

        super().__init__(root)
        self._fs: Any
        self._fs, self._prefix = fsspec.core.url_to_fs(self.root, use_listings_cache=False)

    def read(self, name: str) -> bytes:
        """The content of an object. Raises FileNotFoundError."""
        return self._fs.cat_file(f"{self._prefix}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Put an object."""
        self._fs.pipe_file(f"{self._prefix}/{name}", content)

    def remove(self, name: str) -> None:
        """Remove an object that may be there."""
        if self._fs.exists(f"{self._prefix}/{name}"):
            self._fs.rm_file(f"{self._prefix}/{name}")

    def sizes(self) -> dict[str, int]:
        """The size of every object below the root, by relative path."""
        found = self._fs.find(self._prefix, detail=True)
        return {path[len(self._prefix) + 1 :]: int(info["size"] or 0) for path, info in found.items()}


def files_at(root: str) -> Files:
    """The files below a local folder or the URI of an object store."""
    return RemoteFiles(root) if is_remote(root) else Files(root)
