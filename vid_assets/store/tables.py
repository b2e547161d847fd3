"""The LanceDB of one home: opening, reading, updating by key, inserting what is absent.

Rows go in and out as plain dicts in the types of `store.schemas`. A slice is all rows of one table that a SQL
condition selects. Every write is one Lance commit, and is done again where another writer's commit came between.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa

from model.errors import UserError, first_line
from vid_assets.store.place import files_at, local_folder
from vid_assets.store.schemas import table_spec
from vid_assets.store.schemas.base import SCHEMA_VERSION, VERSION_KEY, TableSpec
from vid_assets.store.state import locked as lock_file

Row = dict[str, Any]
T = TypeVar("T")


#: Keys that one condition lists.
_KEYS_AT_ONCE = 1000
#: How often a commit is tried where others come between; the waits in between add up to some 10 s.
_TRIES = 8
_CONFLICTS = ("commit conflict", "concurrent writ")


class StoreError(UserError, RuntimeError):
    """The store cannot be used as it is; the message says what to do."""


class UndeclaredTableError(RuntimeError):
    """A table was read, or written, by who did not declare that: what it holds would make nothing stale."""


@dataclass(frozen=True)
class _Declared:
    """The tables that `who` may read, and those of them that it may write."""

    who: str
    reads: frozenset[str]
    writes: frozenset[str]


def quote(text: str) -> str:
    """`text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def equals(column: str, value: str | None) -> str:
    """The SQL condition `column = value`; every row for None."""
    return "true" if value is None else f"{column} = {quote(value)}"


def one_of(column: str, values: Iterable[str]) -> str:
    """The SQL condition `column IN (values)`; no row where there are no values."""
    listed = ", ".join(quote(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"


def content_hashes(rows: Sequence[Row], spec: TableSpec) -> list[str]:
    """SHA-256 over what each row holds: the columns that are its content, in the types of the schema."""
    columns = [field for field in spec.columns if field.name not in spec.not_content]
    arrays = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in columns]
    cast = pa.table(arrays, schema=pa.schema(columns)).to_pylist()
    return [hashlib.sha256(_as_text(row).encode()).hexdigest() for row in cast]


def _as_text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=_json_default, separators=(",", ":"))


def _json_default(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value)


def schema_version(table: Any) -> str:
    """The schema version that a table was written in, `none` where it does not say."""
    return (table.schema.metadata or {}).get(VERSION_KEY.encode(), b"none").decode()


def absent_columns(table: Any, spec: TableSpec) -> list[pa.Field]:
    """The columns that the table of an older release lacks. One that this release does not know is left alone."""
    there = set(table.schema.names)
    return [field for field in spec.schema if field.name not in there]


class Store:
    """The tables below `home`: a local folder, or the URI of an object store, opened as the environment says."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.uri = f"{home.rstrip('/')}/lancedb"
        self._derived: dict[str, tuple[tuple[int | None, ...], Any]] = {}
        self._declared: _Declared | None = None

    def only(self, reads: Iterable[str], writes: Iterable[str], who: str) -> Store:
        """This store as `who` sees it: to use a table that is not among these is an `UndeclaredTableError`."""
        writable = frozenset(writes)
        readable = frozenset(reads) | writable
        if self._declared:  # narrower still: never more than it was
            readable, writable = readable & self._declared.reads, writable & self._declared.writes
        narrowed = copy.copy(self)
        narrowed._declared = _Declared(who, readable, writable)
        return narrowed

    @cached_property
    def _db(self) -> Any:
        import lancedb

        return lancedb.connect(self.uri)

    def table_uri(self, name: str) -> str:
        """Where the Lance dataset of a table lies."""
        self._check(name)
        return f"{self.uri}/{name}.lance"

    def exists(self, name: str) -> bool:
        """Whether the table has been created. One that is there but cannot be opened is an error, not an absence."""
        self._check(name)
        return name in self._db.table_names(limit=10_000)

    def table(self, name: str) -> Any:
        """The table, created empty where it does not exist. Raises `StoreError` on another schema."""
        found = self._there(name)
        return (
            found if found is not None else self._db.create_table(name, schema=table_spec(name).schema, exist_ok=True)
        )

    def _there(self, name: str) -> Any | None:
        """The table, None where it does not exist. Raises `StoreError` on another schema."""
        if not self.exists(name):
            return None
        table = self.open(name)
        found, absent = schema_version(table), absent_columns(table, table_spec(name))
        if found == SCHEMA_VERSION and not absent:
            return table
        fault = f"{self.table_uri(name)} has schema version {found}, this release reads {SCHEMA_VERSION}"
        mend = "Stop Dagster and run `vid-assets migrate`, which adds the columns that are new"
        if found == SCHEMA_VERSION:
            fault = f"{self.table_uri(name)} has no {', '.join(field.name for field in absent)}, which this release has"
        elif not found.isdigit() or int(found) > int(SCHEMA_VERSION):
            mend = "Use the release that wrote it, or start another VID_ASSETS_HOME"
        raise StoreError(f"{fault}. {mend}; nothing was changed.")

    def open(self, name: str) -> Any:
        """A table that exists, whatever its schema version."""
        self._check(name)
        return self._db.open_table(name)

    def version(self, name: str) -> int | None:
        """The current Lance version of a table, None where it does not exist."""
        table = self._there(name)
        return int(table.version) if table is not None else None

    def bytes_on_disk(self, name: str) -> int:
        """The size of a table's files, all versions that are kept included."""
        return sum(size for _, size in self.files(name))

    def files(self, name: str) -> list[tuple[str, int]]:
        """The files of a table, by their path below it, with their sizes."""
        return sorted(files_at(self.table_uri(name)).sizes().items())

    def derived(self, what: str, names: Sequence[str], make: Callable[[], T]) -> T:
        """What `make` gives, kept for as long as the tables `names` are in the version that they are in now.

        `what` names it. For groupings of whole tables that are asked for once for each of many batches.
        """
        versions = tuple(self.version(name) for name in names)
        kept = self._derived.get(what)
        if kept is None or kept[0] != versions:
            kept = self._derived[what] = (versions, make())
        return kept[1]

    def read(self, name: str, where: str = "true", columns: Sequence[str] | None = None) -> list[Row]:
        """The rows that `where` selects, in order of key. No rows where the table does not exist."""
        return self.read_arrow(name, where, columns).to_pylist()

    def read_arrow(self, name: str, where: str = "true", columns: Sequence[str] | None = None) -> pa.Table:
        """As `read`, as an Arrow table. Blob columns come as descriptors."""
        spec = table_spec(name)
        wanted = list(columns) if columns else [field.name for field in spec.schema]
        key = [column for column in spec.key if column not in wanted]
        table = self._there(name)
        if table is None:
            return pa.table({column: pa.array([], spec.schema.field(column).type) for column in wanted})
        query = None if where == "true" else where
        found = table.to_lance().to_table(columns=wanted + key, filter=query)
        found = found.sort_by([(column, "ascending") for column in spec.key])
        return found.select(wanted)

    def read_many(
        self, name: str, column: str, values: Iterable[str], columns: Sequence[str] | None = None
    ) -> list[Row]:
        """The rows whose `column` is one of many values; some values at a time."""
        return [row for where in _portions(column, values) for row in self.read(name, where, columns)]

    def read_blobs(self, name: str, where: str, column: str) -> list[tuple[Row, bytes]]:
        """The rows that `where` selects, each with the bytes of its blob `column`."""
        dataset = self.table(name).to_lance()
        plain = [field.name for field in table_spec(name).schema if field.name != column]
        rows = dataset.to_table(columns=plain, filter=None if where == "true" else where, with_row_id=True).to_pylist()
        blobs = dataset.take_blobs(column, ids=[row["_rowid"] for row in rows]) if rows else []
        return [(row, blob.readall()) for row, blob in zip(rows, blobs, strict=True)]

    def count(self, name: str, where: str = "true") -> int:
        """How many rows `where` selects."""
        table = self._there(name)
        return int(table.count_rows(None if where == "true" else where)) if table is not None else 0

    def upsert(self, name: str, rows: Sequence[Row], locked: bool = False) -> int:
        """Insert or update rows by key in one commit; returns the Lance version. `locked`: within `writing` already."""
        if rows:
            arrow = to_arrow(rows, table_spec(name))
            with contextlib.nullcontext() if locked else self.writing(name):
                self.commit(
                    name,
                    lambda: self._merge(name).when_matched_update_all().when_not_matched_insert_all().execute(arrow),
                )
        return int(self.table(name).version)

    def insert_absent(self, name: str, rows: Sequence[Row], replace_where: str | None = None) -> int:
        """Insert the rows whose key is not there yet, in one commit; returns the Lance version.

        A row that is there stays as it is, unless `replace_where` (SQL on the row there, as `target.column`)
        holds for it: that is how a failed row gives way to the next try.
        """
        if rows:
            arrow = to_arrow(rows, table_spec(name))

            def insert() -> None:
                merge = self._merge(name).when_not_matched_insert_all()
                if replace_where:
                    merge = merge.when_matched_update_all(where=replace_where)
                merge.execute(arrow)

            with self.writing(name):
                self.commit(name, insert)
        return int(self.table(name).version)

    def delete(self, name: str, where: str) -> None:
        """Delete the rows that `where` selects."""
        if self.exists(name):
            with self.writing(name):
                self.commit(name, lambda: self.table(name).delete(where))

    def delete_many(self, name: str, column: str, values: Iterable[str]) -> None:
        """Delete the rows whose `column` is one of many values, some values at a time."""
        for where in _portions(column, values):
            self.delete(name, where)

    def commit(self, name: str, write: Callable[[], T]) -> T:
        """Do a write that may be done twice (all here are by key or by condition), again after a commit conflict.

        Conflicts come from writers that do not share our locks: another machine, a notebook. Raises `StoreError` where
        they do not cease.
        """
        self._check(name, writes=True)
        for number in range(_TRIES):
            try:
                return write()
            except (OSError, RuntimeError, ValueError) as error:
                if not any(words in str(error).lower() for words in _CONFLICTS):
                    raise
                conflict = error
            time.sleep(0.08 * 2**number * random.uniform(0.5, 1.0))
        raise StoreError(
            f"{self.table_uri(name)}: another process keeps writing to this table; gave up after {_TRIES} tries "
            f"({first_line(conflict)[:200]}). What was written before is kept: stop that process, run again."
        ) from conflict

    def _check(self, name: str, writes: bool = False) -> None:
        """Refuse what was not declared."""
        if self._declared is None:
            return
        declared = self._declared.writes if writes else self._declared.reads
        if name not in declared:
            what = "writes" if writes else "reads"
            names = ", ".join(sorted(declared)) or "none"
            raise UndeclaredTableError(
                f"{self._declared.who} {what} the table {name}; it declares that it {what} {names}"
            )

    def _merge(self, name: str) -> Any:
        return self.table(name).merge_insert(list(table_spec(name).key))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Keep other processes from writing a table. Lance lets two merges at once insert one key twice."""
        self._check(name, writes=True)
        folder = local_folder(self.home) / "state" / "tables"
        with lock_file(folder / f"{name}.lock"):
            yield


def _portions(column: str, values: Iterable[str]) -> Iterator[str]:
    """Conditions that together say that `column` is one of many values; none where there are none."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), _KEYS_AT_ONCE):
        yield one_of(column, ordered[start : start + _KEYS_AT_ONCE])


def to_arrow(rows: Sequence[Row], spec: TableSpec) -> pa.Table:
    """Rows as an Arrow table in the schema of `spec`; a blob column takes bytes or None."""
    arrays = []
    for field in spec.schema:
        values = [row.get(field.name) for row in rows]
        if isinstance(field.type, pa.ExtensionType):
            import lance

            arrays.append(lance.blob_array(values))
        else:
            arrays.append(pa.array(values, type=field.type))
    return pa.table(arrays, schema=spec.schema)
