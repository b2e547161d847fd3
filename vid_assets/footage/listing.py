"""Finding footage: the files below each source, with their sizes, versions and sidecars. Reads captions, no footage.

A listing that fails is an error, never an empty source. The version of a file (`etag`) is the store's own etag, or
its modification time on a local disk.
"""

from __future__ import annotations

import fnmatch
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from model.errors import UserError
from vid_assets.footage.identity import UNREADABLE, file_system
from vid_assets.footage.settings import SourceFolder
from vid_assets.footage.sidecars import (
    BESIDE,
    PROMPTS,
    Listing,
    composed,
    listings_of,
    path_of,
    read_listing,
)

if TYPE_CHECKING:
    from fsspec.implementations.local import LocalFileSystem

#: Files that are never footage: what an operating system, an editor or a data set's own documentation leaves.
_NOT_FOOTAGE = {
    ".txt",
    ".caption",
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


#: Texts that are told of where they lie beside footage and belong to none.
_LONE = (".txt", ".caption")


class ListingError(UserError, RuntimeError):
    """A source could not be listed; the message says which one and why."""


@dataclass(frozen=True)
class Sidecar:
    """A text that belongs to a footage file. Of a listing of many captions, size and version are of this file's."""

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


class FoundFiles(list[FoundFile]):
    """A listing. `strays` are the captions of files that it does not have: uri -> their paths, none of a lone text."""

    strays: dict[str, list[str]]

    def __init__(self, files: Iterable[FoundFile], strays: dict[str, list[str]]) -> None:
        super().__init__(files)
        self.strays = strays


def list_sources(sources: Iterable[SourceFolder]) -> FoundFiles:
    """Every footage file of `sources`, once, in order of uri. Raises `ListingError`."""
    found: dict[str, FoundFile] = {}
    named: dict[str, set[str]] = {}
    lone: set[str] = set()
    for source in sources:
        files, listings, alone = _list_one(source)
        lone |= set(alone)
        for file in files:
            found.setdefault(file.uri, file)
        named |= {listing.uri: set(listing.entries) for listing in listings}
    there = {composed(path_of(uri)) for uri in found}
    strays = {uri: sorted(paths - there) for uri, paths in sorted(named.items()) if not paths <= there}
    strays |= {uri: [] for uri in sorted(lone)}
    return FoundFiles((found[uri] for uri in sorted(found)), strays)


def _list_one(source: SourceFolder) -> tuple[list[FoundFile], list[Listing], list[str]]:
    """The footage of a source, the listings of captions, and the texts beside footage that are of none."""
    from fsspec.implementations.local import LocalFileSystem

    try:
        fs, root = file_system(source.uri)
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
        if not any(part.startswith(".") for part in PurePosixPath(name).parts) and not _excluded(name, source):
            files[name] = (path, info)
    footage = [
        (name, path, info)
        for name, (path, info) in sorted(files.items())
        if _suffix(name) not in _NOT_FOOTAGE and _included(name, source)
    ]
    for _, path, _ in footage:
        _require_text(path)
    listings = _listings(fs, files, [name for name, _, _ in footage])
    taken = {path_of(listing.uri) for above in listings.values() for listing in above}
    beside = _beside(fs, files, taken)
    found = []
    for name, path, info in footage:
        sidecars = tuple(car for one in _names(name) for car in beside.get(one, ()))
        above = [listing for folder in _folders(name) for listing in listings.get(folder, ())]
        entries = [
            Sidecar(listing.uri, listing.size(path), version)
            for listing in above
            if (version := listing.version(path)) is not None
        ]
        found.append(FoundFile(_uri(fs, path), int(info["size"] or 0), _etag(info), (*sidecars, *entries)))
    mine = {one for name, _, _ in footage for one in _names(name)}
    folders = {name.rpartition("/")[0] for name, _, _ in footage}
    lone = [
        car.uri
        for name, cars in beside.items()
        for car in cars
        if name not in mine and name.rpartition("/")[0] in folders and _suffix(car.uri) in _LONE
    ]
    return found, [listing for above in listings.values() for listing in above], lone


def _walk(fs: LocalFileSystem, root: str, source: SourceFolder) -> dict:
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
                    files[info["name"]] = _of_target(fs, info) if info.get("islink") else info
            elif linked and _leads_back(info["name"]):
                continue
            elif not name.startswith(".") and name != "lost+found":
                folders.append(info["name"])
    return files


def _of_target(fs: LocalFileSystem, link: dict) -> dict:
    """What is said of a link's target, as of any file that is asked for alone; of a broken link, what is there."""
    try:
        return fs.info(link["name"])
    except OSError:
        return link


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


def _included(name: str, source: SourceFolder) -> bool:
    return any(_matches(name, pattern) for pattern in source.include) and not _excluded(name, source)


def _excluded(name: str, source: SourceFolder) -> bool:
    return any(_matches(name, pattern) for pattern in source.exclude)


def _matches(name: str, pattern: str) -> bool:
    """Whether the name fits; `**/` stands for any number of folders, none among them."""
    if fnmatch.fnmatchcase(name, pattern):
        return True
    head, found, tail = pattern.partition("**/")
    return bool(found) and _matches(name, head + tail)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _names(name: str) -> list[str]:
    """What a text of a file may be called, without its own suffix: as the file's stem, or as the whole file."""
    return list(dict.fromkeys([composed(_stem(name)), composed(name)]))


def _beside(fs: object, files: dict, listings: set[str]) -> dict[str, tuple[Sidecar, ...]]:
    """Name without the text's own suffix -> the texts that are called so, in order of name."""
    found: dict[str, tuple[Sidecar, ...]] = {}
    for name in sorted(name for name, (path, _) in files.items() if _suffix(name) in BESIDE and path not in listings):
        path, info = files[name]
        sidecar = Sidecar(_uri(fs, path), int(info["size"] or 0), _etag(info))
        stem = composed(_stem(name))
        found[stem] = (*found.get(stem, ()), sidecar)
    return found


def _folders(name: str) -> list[str]:
    """The folders that a file lies in, the outermost first: that of the source, which is nothing, `a`, `a/b`."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _listings(fs: object, files: dict, footage: Iterable[str]) -> dict[str, list[Listing]]:
    """The listings of captions among the files, by the folder that they are about."""
    names: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    for name in files:
        if _suffix(name) in _NOT_FOOTAGE:
            folder, _, last = name.rpartition("/")
            names.setdefault(folder, []).append(last)
    for name in footage:
        folder, _, last = name.rpartition("/")
        stems.setdefault(folder, []).append(_stem(last))
    found: dict[str, list[Listing]] = {}
    for folder in sorted(names):
        for name in listings_of(folder, names[folder], stems.get(folder, ())):
            partners = [files[other] for other in (f"{folder}/{one}".lstrip("/") for one in PROMPTS) if other in files]
            version = tuple(f"{info['size']}:{_etag(info)}" for _, info in (files[name], *partners))
            found.setdefault(folder, []).append(_read_listing(_uri(fs, files[name][0]), version))
    return found


def _read_listing(uri: str, version: tuple[str, ...]) -> Listing:
    try:
        return _read_listing_once(uri, version)
    except OSError as error:
        return Listing(uri, problems=[f"{uri}: {UNREADABLE}: {error}"])


@functools.lru_cache(maxsize=256)
def _read_listing_once(uri: str, version: tuple[str, ...]) -> Listing:
    """A listing of captions, which is asked for with every listing of the footage and may be long."""
    return read_listing(uri)


def _uri(fs: object, path: str) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]  # type: ignore[attr-defined]
    return path if protocol in ("file", "local") else f"{protocol}://{path}"


def version_now(uri: str) -> str:
    """The version of one file as a listing would show it: size and etag. Raises OSError where it is gone."""
    fs, path = file_system(uri)
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
