"""Blob bytes from the memory map: every layout, every version of a table, and what is done where it does not hold."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from model.data import blobs
from model.data.blobs import BlobColumn, DataError

#: By Lance's own thresholds these are inline, packed, and in a file each; one is null and one is empty.
SIZES = (100, 70_000, 4_300_000, None, 0, 200, 60_000, 400_000)
OURS = lance.blob_field("latent", inline_size_threshold=0, dedicated_size_threshold=1 << 30)
LAYOUTS = {"lance's own": lance.blob_field("latent"), "ours": OURS}


def content(count: int = 2 * len(SIZES)) -> dict[str, bytes | None]:
    rng = np.random.default_rng(0)
    sizes = [SIZES[index % len(SIZES)] for index in range(count)]
    return {f"s{index:02d}": None if size is None else rng.bytes(size) for index, size in enumerate(sizes)}


def write(uri: Path, stored: dict[str, bytes | None], field: pa.Field, rows_per_file: int = 8) -> lance.LanceDataset:
    schema = pa.schema([pa.field("id", pa.string()), field])
    table = pa.table(
        {"id": pa.array(list(stored)), "latent": lance.blob_array(list(stored.values()))},
        schema=schema,
    )
    mode = "append" if uri.exists() else "create"
    return lance.write_dataset(table, str(uri), mode=mode, max_rows_per_file=rows_per_file, data_storage_version="2.2")


def opened(uri: Path, version: int, wanted: Sequence[str]) -> tuple[BlobColumn, dict[str, tuple[int, int | None]]]:
    column = BlobColumn(str(uri), version, "latent")
    rows = column.select("id", wanted, [])
    return column, {row["id"]: (place, row["size"]) for place, row in enumerate(rows)}


def read(column: BlobColumn, rows: dict[str, tuple[int, int | None]], names: Sequence[str]) -> list[bytes]:
    out = [np.empty(rows[name][1] or 0, np.uint8) for name in names]
    column.read([rows[name][0] for name in names], out)
    return [part.tobytes() for part in out]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_blob_at_every_version_is_read_from_the_map(tmp_path: Path, layout: str) -> None:
    stored, uri = content(), tmp_path / "t.lance"
    dataset = write(uri, stored, LAYOUTS[layout])
    versions: list[tuple[int, set[str]]] = [(dataset.version, set(stored))]
    dataset.add_columns({"more": "1"})  # a second data file in each fragment
    dataset = lance.dataset(str(uri))
    versions.append((dataset.version, set(stored)))
    gone = {"s01", "s10"}
    dataset.delete(f"id in ('{min(gone)}', '{max(gone)}')")
    versions.append((dataset.version, set(stored) - gone))
    dataset.optimize.compact_files()  # moves every row into another file
    versions.append((lance.dataset(str(uri)).version, set(stored) - gone))

    for version, names in versions:
        column, rows = opened(uri, version, list(stored))
        assert column.fallback is None
        assert rows.keys() == names
        assert {name for name, (_, size) in rows.items() if size is None} == {"s03", "s11"}
        wanted = [name for name in sorted(names, reverse=True) if rows[name][1] is not None]
        wanted += wanted[:2]  # a sample may come twice
        assert read(column, rows, wanted) == [stored[name] for name in wanted]
        column.fallback = "as on an object store"
        assert read(column, rows, wanted) == [stored[name] for name in wanted]


def test_a_kept_version_is_read_after_the_table_grew_and_was_compacted_and_cleaned(tmp_path: Path) -> None:
    from datetime import timedelta

    stored, uri = content(), tmp_path / "t.lance"
    dataset = write(uri, stored, OURS)
    pinned = dataset.version
    dataset.tags.create("training-set-x", pinned)
    column, rows = opened(uri, pinned, list(stored))
    write(uri, {f"new-{name}": blob for name, blob in stored.items()}, OURS)
    dataset = lance.dataset(str(uri))
    dataset.delete("id = 's00'")
    dataset.optimize.compact_files()
    dataset.cleanup_old_versions(timedelta(0), error_if_tagged_old_versions=False, delete_unverified=True)
    assert pinned in [version["version"] for version in lance.dataset(str(uri)).versions()]
    wanted = [name for name, blob in stored.items() if blob is not None]
    again, rows_again = opened(uri, pinned, list(stored))
    assert again.fallback is None
    assert read(column, rows, wanted) == read(again, rows_again, wanted) == [stored[name] for name in wanted]


def test_more_files_than_may_stay_open_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_OPEN_MAPS", 2)
    stored = {f"s{index:02d}": bytes([index]) * 500 for index in range(12)}
    dataset = write(tmp_path / "t.lance", stored, OURS, rows_per_file=1)
    column, rows = opened(tmp_path / "t.lance", dataset.version, list(stored))
    assert column.fallback is None
    for _ in range(2):
        assert read(column, rows, list(stored)) == list(stored.values())


def test_a_layout_that_is_not_the_expected_one_is_read_through_lance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, uri = content(), tmp_path / "t.lance"
    version = write(uri, stored, OURS).version
    wanted = [name for name, blob in stored.items() if blob is not None]
    with monkeypatch.context() as patch:  # as if another release counted positions from somewhere else
        real = blobs._map_file
        patch.setattr(blobs, "_map_file", lambda path: np.roll(real(path), 1))
        column, rows = opened(uri, version, list(stored))
        assert "not where its descriptor is taken to point" in (column.fallback or "")
        assert read(column, rows, wanted) == [stored[name] for name in wanted]
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"abc")
    schema = pa.schema([pa.field("id", pa.string()), OURS])
    external = pa.table({"id": ["x"], "latent": lance.blob_array([outside.as_uri()])}, schema=schema)
    dataset = lance.write_dataset(
        external, str(tmp_path / "e.lance"), data_storage_version="2.2", allow_external_blob_outside_bases=True
    )
    column, _ = opened(tmp_path / "e.lance", dataset.version, ["x"])
    assert "blobs of kind 3" in (column.fallback or "")


def test_a_file_that_is_gone_or_cut_off_names_the_row(tmp_path: Path) -> None:
    stored = {"s00": b"a" * 1000, "s01": b"b" * 1000}
    dataset = write(tmp_path / "t.lance", stored, OURS)
    file = next((tmp_path / "t.lance").rglob("*.blob"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"the latent of s01: its file .*1999 bytes, and the blob ends at 2000"):
        opened(tmp_path / "t.lance", dataset.version, list(stored))
    file.unlink()
    with pytest.raises(DataError, match=r"the latent of s0.: its file .* is not there"):
        opened(tmp_path / "t.lance", dataset.version, list(stored))


def test_another_process_reads_what_it_was_sent_without_opening_the_table(tmp_path: Path) -> None:
    stored = {"s00": b"abc", "s01": b"defg"}
    dataset = write(tmp_path / "t.lance", stored, OURS)
    column, rows = opened(tmp_path / "t.lance", dataset.version, list(stored))
    (tmp_path / "column.pickle").write_bytes(pickle.dumps(column))
    code = (
        "import json, pickle, sys; import numpy as np; column = pickle.load(open(sys.argv[1], 'rb'))\n"
        "out = np.empty(4, np.uint8); column.read([int(sys.argv[2])], [out])\n"
        "print(json.dumps({'bytes': out.tobytes().decode(), 'heavy': sorted({'lance', 'torch'} & set(sys.modules))}))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "column.pickle"), str(rows["s01"][0])]
    done: Any = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert json.loads(done.stdout) == {"bytes": "defg", "heavy": []}


def test_a_null_and_a_wrong_size_are_refused_by_name(tmp_path: Path) -> None:
    dataset = write(tmp_path / "t.lance", {"s00": None, "s01": b"abc"}, OURS)
    column, rows = opened(tmp_path / "t.lance", dataset.version, ["s00", "s01"])
    with pytest.raises(DataError, match="latent of s00: no bytes stored, 3 expected"):
        column.read([rows["s00"][0]], [np.empty(3, np.uint8)])
    with pytest.raises(DataError, match="latent of s01: 3 bytes stored, 4 expected"):
        column.read([rows["s01"][0]], [np.empty(4, np.uint8)])
    alone = write(tmp_path / "null.lance", {"s00": None}, OURS)  # of which no file is mapped
    column, rows = opened(tmp_path / "null.lance", alone.version, ["s00"])
    with pytest.raises(DataError, match="latent of s00: no bytes stored, 3 expected"):
        column.read([rows["s00"][0]], [np.empty(3, np.uint8)])
