"""The bytes of a blob column at one version of a table: from a memory map where the store is a local folder.

Lance gives a blob column as descriptors (kind, position, size, blob_id), not as bytes. Of the kinds of data storage
version 2.2, `inline` blobs lie in the fragment's own data file `data/<name>.lance`, `packed` and `dedicated` ones in
`data/<name>/<blob_id>.blob`, the id as 32 binary digits, lowest first; `position` counts from the start of that file.
The layout is no promise of Lance's: when a column is opened, the first blob of each file is compared with what
`read_blobs` gives. Where one differs, and on object stores, every blob is read through `read_blobs`. Belongs here:
where bytes lie and how they are copied; what they mean is `model.data.training_set`'s.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import numpy as np

from model.errors import ModelError, first_line

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

_INLINE, _PACKED, _DEDICATED = range(3)
_DESCRIPTOR = {"kind", "position", "size", "blob_id"}
#: Maps kept open at once: each holds a file descriptor, and dedicated blobs have a file each.
_OPEN_MAPS = 256
#: Blobs that are compared at once when a column is opened; bounds the memory that this takes.
_COMPARED = 16


class DataError(ModelError):
    """The stored training set does not hold what the manifest promises; the message names the row."""


class BlobColumn:
    """A blob column of one pinned version of a table: find rows by key, then read their bytes by place.

    Made once and sent to worker processes by pickle: they neither open the table nor import Lance where bytes are
    mapped.

    Attributes:
        where: the table and its version, for messages.
        fallback: why bytes go through `read_blobs`, None where they are mapped.
    """

    def __init__(self, uri: str, version: int, column: str) -> None:
        self.uri, self.version, self.column = uri, version, column
        self.where = f"{uri} at version {version}"
        self.fallback: str | None = None
        self._names: list[str] = []
        self._addresses: list[int] = []
        self._files: list[str] = []
        self._places: list[tuple[int, int, int]] = []  # (index of the file, first byte, last byte + 1)
        self._sizes: list[int | None] = []
        self._reset()

    def _reset(self) -> None:
        self._dataset = _Lazy(self.uri, self.version)
        self._map = lru_cache(_OPEN_MAPS)(_map_file)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_dataset", "_map")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns."""
        return list(self._dataset.get().schema.names)

    def select(self, key: str, wanted: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows whose `key` is wanted, in their order on the disk; `read` takes positions in this list.

        Returns:
            `columns` and `key` of each row, and `size`: bytes of its blob, None for a null.

        Raises:
            DataError: the table cannot be opened at this version, or a blob's file is not there or too short.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        dataset = self._dataset.get()
        table = dataset.to_table(columns=[key, *columns, self.column], with_row_address=True)
        table = table.filter(pc.is_in(table.column(key), value_set=pa.array(wanted, table.schema.field(key).type)))
        table = table.sort_by("_rowaddr").combine_chunks()
        descriptors = table.column(self.column).combine_chunks()
        self._names = table.column(key).to_pylist()
        self._addresses = table.column("_rowaddr").to_pylist()
        self._sizes = pc.struct_field(descriptors, "size").to_pylist()
        try:
            self._locate(dataset, descriptors)
            self._compare()
        except _UnknownLayoutError as reason:
            self.fallback = str(reason)
        rows = table.select([key, *columns]).to_pylist()
        return [row | {"size": size} for row, size in zip(rows, self._sizes, strict=True)]

    def read(self, rows: Sequence[int], into: np.ndarray | Sequence[np.ndarray]) -> None:
        """Copy the blob of each row into the array beside it (uint8, of the blob's size), in order of place.

        Raises:
            DataError: a blob is null, has another size than its array, or cannot be read.
        """
        blobs = self._read_blobs(sorted(set(rows))) if self.fallback is not None else None
        for index in sorted(range(len(rows)), key=rows.__getitem__):
            row, out = rows[index], into[index]
            if self._sizes[row] is None:
                raise DataError(f"{self._what(row)}: no bytes stored, {len(out)} expected")
            if blobs is not None:
                blob = blobs[row]
            else:
                file, start, end = self._places[row]
                try:
                    blob = self._map(self._files[file])[start:end]
                except OSError as error:
                    raise DataError(f"{self._what(row)}: {error.strerror}: {self._files[file]}") from error
            if len(blob) != len(out):
                raise DataError(f"{self._what(row)}: {len(blob)} bytes stored, {len(out)} expected")
            out[:] = blob

    def _locate(self, dataset: lance.LanceDataset, descriptors: pa.StructArray) -> None:
        """Fill `_files` and `_places`."""
        folder = local_folder(self.uri)
        if folder is None:
            raise _UnknownLayoutError("the store is no local folder")
        if not {field.name for field in descriptors.type} >= _DESCRIPTOR:
            raise _UnknownLayoutError(f"descriptors of the form {descriptors.type} are not known")
        names = _data_files(dataset, self.column)
        index: dict[str, int] = {}
        ends: list[tuple[int, int]] = []  # of each file, the last byte that a row claims, and that row
        for row, (address, descriptor) in enumerate(zip(self._addresses, descriptors.to_pylist(), strict=True)):
            if descriptor is None:
                self._places.append((0, 0, 0))
                continue
            name, kind = names[address >> 32], descriptor["kind"]
            if kind == _INLINE:
                path = name
            elif kind in (_PACKED, _DEDICATED):
                digits = f"{descriptor['blob_id']:032b}"[::-1]
                path = f"{name.removesuffix('.lance')}/{digits}.blob"
            else:
                raise _UnknownLayoutError(f"blobs of kind {kind} are not known")
            file = index.setdefault(path, len(index))
            end = descriptor["position"] + descriptor["size"]
            self._places.append((file, descriptor["position"], end))
            if file == len(ends):
                ends.append((end, row))
            ends[file] = max(ends[file], (end, row))
        self._files = [str(folder / "data" / path) for path in index]
        for path, (end, row) in zip(self._files, ends, strict=True):
            found = os.path.getsize(path) if os.path.exists(path) else None
            if found is None or found < end:
                state = "is not there" if found is None else f"has {found} bytes, and the blob ends at {end}"
                raise DataError(f"{self._what(row)}: its file {path} {state}; the store is damaged")

    def _compare(self) -> None:
        """Compare the first blob of each file, of dedicated ones of each fragment, with what Lance reads."""
        first: dict[tuple[int, str], int] = {}
        for row, (file, position, _) in enumerate(self._places):
            if self._sizes[row]:
                path = self._files[file]
                whole = position == 0 and path.endswith(".blob") and os.path.getsize(path) == self._sizes[row]
                first.setdefault((self._addresses[row] >> 32, "dedicated" if whole else path), row)
        rows = list(first.values())
        for start in range(0, len(rows), _COMPARED):
            some = rows[start : start + _COMPARED]
            for row, blob in self._read_blobs(some).items():
                mapped = np.empty(len(blob), np.uint8)
                self.read([row], [mapped])
                if not np.array_equal(mapped, blob):
                    raise _UnknownLayoutError(f"{self._what(row)} is not where its descriptor is taken to point")

    def _read_blobs(self, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """Bytes by row, through Lance; `rows` in order, each once."""
        addresses = [self._addresses[row] for row in rows]
        try:
            blobs = list(self._dataset.get().read_blobs(self.column, addresses=addresses, preserve_order=True))
        except (ValueError, OSError) as error:
            reason = first_line(error)
            others = f", or one of {len(rows) - 1} rows read with it" if len(rows) > 1 else ""
            raise DataError(f"{self._what(rows[0])}{others}: {reason}") from None
        return {row: np.frombuffer(blob or b"", np.uint8) for row, (_, blob) in zip(rows, blobs, strict=True)}

    def _what(self, row: int) -> str:
        return f"{self.where}: the {self.column} of {self._names[row]}"


class _UnknownLayoutError(Exception):
    """Bytes cannot be mapped; the text says why."""


class _Lazy:
    """A dataset that is opened when it is first asked for."""

    def __init__(self, uri: str, version: int) -> None:
        self._uri, self._version = uri, version
        self._opened: lance.LanceDataset | None = None

    def get(self) -> lance.LanceDataset:
        if self._opened is None:
            self._opened = open_table(self._uri, self._version)
        return self._opened


def open_table(uri: str, version: int) -> lance.LanceDataset:
    """A Lance table at a version; a `DataError` where there is none."""
    import lance

    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        raise DataError(f"cannot open {uri} at version {version}: {first_line(error)}") from error


def local_folder(uri: str) -> Path | None:
    """The folder that `uri` names, None where it is not of this machine's file system."""
    if "://" not in uri:
        return Path(uri).absolute()
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _data_files(dataset: lance.LanceDataset, column: str) -> dict[int, str]:
    """Fragment -> name of the data file that holds `column`."""
    known = dataset.lance_schema.field(column)
    if known is None:
        raise DataError(f"{dataset.uri} has no column {column}")
    field = known.id()
    names = {}
    for fragment in dataset.get_fragments():
        holding = [file for file in fragment.metadata.files if field in file.fields]
        if len(holding) != 1 or holding[0].base_id is not None or fragment.metadata.overlays:
            raise _UnknownLayoutError(f"fragment {fragment.fragment_id} is not laid out as one data file here")
        names[fragment.fragment_id] = holding[0].path
    return names


def _map_file(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
