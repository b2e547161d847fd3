"""Finding footage: the files below each source, with their sizes, versions and sidecars. Reads no footage.

A listing that fails is an error, never an empty source. The version of a file (`etag`) is the store's own etag, or
its modification time on a local disk.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from vid_assets.config import Source

#: Sidecars: text that belongs to the file of the same stem beside it.
SIDECAR_SUFFIXES = (".txt",)
#: Files that are never footage: what an operating system, an editor or a data set's own documentation leaves.
_NOT_FOOTAGE = {
    ".json",
    ".jsonl",
    ".csv",
    ".md",
    ".yaml",
    ".yml",
    ".html",
    ".xml",
    ".pdf",
    ".srt",
    ".vtt",
    ".tmp",
    ".part",
}


class ListingError(RuntimeError):
    """A source could not be listed; the message says which one and why."""


@dataclass(frozen=True)
class Sidecar:
    """A text file beside a footage file."""

    uri: str
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class FoundFile:
    """A file as the listing shows it."""

    uri: str
    size_bytes: int
    etag: str
    sidecars: tuple[Sidecar, ...] = field(default=())


def list_sources(sources: Iterable[Source]) -> list[FoundFile]:
    """Every footage file of `sources`, once, in order of uri. Raises `ListingError`."""
    found: dict[str, FoundFile] = {}
    for source in sources:
        for file in _list_one(source):
            found.setdefault(file.uri, file)
    return [found[uri] for uri in sorted(found)]


def _list_one(source: Source) -> list[FoundFile]:
    try:
        fs, root = fsspec.core.url_to_fs(source.uri)
        if not fs.isdir(root):
            raise ListingError(f"source {source.uri}: no such folder. Correct `sources` in the configuration file.")
        entries = _walk(fs, root, source) if isinstance(fs, LocalFileSystem) else fs.find(root, detail=True)
    except ListingError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise ListingError(f"source {source.uri}: it cannot be listed: {error}. Nothing was changed.") from error
    root = root.rstrip("/")
    files = {}
    for path, info in entries.items():
        name = path[len(root) :].lstrip("/")
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        files[name] = (path, info)
    sidecars = {name for name in files if PurePosixPath(name).suffix.lower() in SIDECAR_SUFFIXES}
    footage = [
        (name, path, info)
        for name, (path, info) in sorted(files.items())
        if name not in sidecars and PurePosixPath(name).suffix.lower() not in _NOT_FOOTAGE and _included(name, source)
    ]
    for _, path, _ in footage:
        _require_text(path)
    return [
        FoundFile(_uri(fs, path), int(info["size"] or 0), _etag(info), _beside(fs, name, files, sidecars))
        for name, path, info in footage
    ]


def _walk(fs: LocalFileSystem, root: str, source: Source) -> dict:
    """What `fs.find` gives, but a folder that cannot be read is an error: to `find` it is empty, its files removed."""
    files, folders = {}, [root]
    while folders:
        folder = folders.pop()
        try:
            entries = fs.ls(folder, detail=True)
        except OSError:
            if not _included(folder[len(root) :].strip("/") + "/any", source):
                continue
            raise
        for info in entries:
            name = PurePosixPath(info["name"]).name
            linked = bool(info.get("islink")) and os.path.isdir(info["name"])
            if info["type"] != "directory" and not linked:
                if info["type"] == "file" or not _is_special(info["name"]):
                    files[info["name"]] = info
            elif linked and _leads_back(info["name"]):
                continue
            elif not name.startswith(".") and name != "lost+found":
                folders.append(info["name"])
    return files


def _is_special(path: str) -> bool:
    """Whether there is a pipe, a socket or a device, which may never end. A broken link is none."""
    return os.path.exists(path) and not os.path.isfile(path)


def _leads_back(link: str) -> bool:
    """Whether a link leads to a folder that it lies in."""
    target, place = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath([target, place]) == target


def _require_text(path: str) -> None:
    """Refuse a name that no table can hold, nor any message show."""
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise ListingError(
            f"{shown}: the name is not UTF-8. Rename the file, or exclude it. Nothing was changed."
        ) from None


def _included(name: str, source: Source) -> bool:
    def matches(pattern: str) -> bool:
        """Whether the name fits; `**/` stands for any number of folders, none among them."""
        if fnmatch.fnmatchcase(name, pattern):
            return True
        head, found, tail = pattern.partition("**/")
        return bool(found) and matches(head + tail)

    return any(map(matches, source.include)) and not any(map(matches, source.exclude))


def _beside(fs: object, name: str, files: dict, sidecars: set[str]) -> tuple[Sidecar, ...]:
    stem = name.rpartition(".")[0] or name
    beside = sorted(stem + suffix for suffix in SIDECAR_SUFFIXES if stem + suffix in sidecars)
    return tuple(
        Sidecar(_uri(fs, files[item][0]), int(files[item][1]["size"] or 0), _etag(files[item][1])) for item in beside
    )


def _uri(fs: object, path: str) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]  # type: ignore[attr-defined]
    return path if protocol in ("file", "local") else f"{protocol}://{path}"


def version_now(uri: str) -> str:
    """The version of one file as a listing would show it: size and etag. Raises OSError where it is gone."""
    fs, path = fsspec.core.url_to_fs(uri)
    fs.invalidate_cache()
    info = fs.info(path)
    return f"{int(info['size'] or 0)}:{_etag(info)}"


def _etag(info: dict) -> str:
    for name in ("ETag", "etag", "md5", "contentHash"):
        if info.get(name):
            return str(info[name]).strip('"')
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        if info.get(name) is not None:
            return f"{name}:{info[name]}"
    raise ListingError(f"{info.get('name')}: the store tells neither an etag nor a time of change")
