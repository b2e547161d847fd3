"""An older home: refused with the command that helps, migrated without losing a row, a newer one left alone."""

from __future__ import annotations

from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from vid_assets.cli import main
from vid_assets.store.migration import migrate
from vid_assets.store.schemas import table_spec
from vid_assets.store.schemas.base import SCHEMA_VERSION, VERSION_KEY
from vid_assets.store.tables import Store, StoreError


def older(store: Store, table: str, without: set[str], rows: list[dict], version: str = "1") -> None:
    fields = [field for field in table_spec(table).schema if field.name not in without]
    schema = pa.schema(fields, metadata={VERSION_KEY: version})
    lancedb.connect(store.uri).create_table(table, pa.Table.from_pylist(rows, schema=schema))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    older(store, "clips", {"end_s"}, [{"clip_id": "a", "start_s": 1.5}, {"clip_id": "b", "start_s": 2.5}])
    older(store, "verdicts", {"failures"}, [{"clip_id": "a", "accepted": True}])
    return store


def test_an_older_table_names_the_command_that_helps(store):
    with pytest.raises(StoreError, match="vid-assets migrate"):
        store.read("clips")


def test_new_columns_are_null_and_every_row_stays(store):
    assert migrate(store) == ["clips: gained end_s", "verdicts: gained failures"]
    assert store.read("clips", columns=["clip_id", "start_s", "end_s"]) == [
        {"clip_id": "a", "start_s": 1.5, "end_s": None},
        {"clip_id": "b", "start_s": 2.5, "end_s": None},
    ]
    assert store.read("verdicts", columns=["accepted", "failures"]) == [{"accepted": True, "failures": None}]
    store.upsert("verdicts", [{"clip_id": "b", "failures": [{"rule": "luma_min", "value": 3.0, "limit": 20.0}]}])
    assert store.read("verdicts")[1]["failures"][0]["rule"] == "luma_min"


def test_a_column_that_is_new_tells_itself_without_another_version(tmp_path):
    store = Store(str(tmp_path))
    older(store, "clips", {"end_s"}, [{"clip_id": "a", "start_s": 1.5}], version=SCHEMA_VERSION)
    with pytest.raises(
        StoreError, match=r"has no end_s, which this release has\. Stop Dagster and run `vid-assets mig"
    ):
        store.read("clips")
    assert migrate(store) == ["clips: gained end_s"]
    assert store.read("clips", columns=["clip_id", "start_s", "end_s"]) == [
        {"clip_id": "a", "start_s": 1.5, "end_s": None}
    ]


def test_a_column_that_this_release_does_not_know_is_left_alone(tmp_path):
    store = Store(str(tmp_path))
    store.upsert("clips", [{"clip_id": "a", "start_s": 1.5}])
    store.open("clips").to_lance().add_columns({"tried": "start_s * 2"})
    store.upsert("clips", [{"clip_id": "a", "start_s": 2.5}, {"clip_id": "b"}])
    assert [row["start_s"] for row in store.read("clips")] == [2.5, None]
    assert "tried" in store.open("clips").schema.names


def test_a_migration_that_was_killed_goes_on(store):
    store.open("clips").to_lance().add_columns(pa.schema([table_spec("clips").schema.field("end_s")]))
    assert migrate(store) == ["clips: nothing to add", "verdicts: gained failures"]
    assert migrate(store) == []


def test_a_newer_home_is_left_alone(store):
    older(store, "videos", {"error"}, [], version="99")
    before = store.open("clips").version
    with pytest.raises(StoreError, match="schema version 99"):
        migrate(store)
    assert store.open("clips").version == before


def test_the_command_says_what_it_did(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VID_ASSETS_HOME", str(tmp_path))
    monkeypatch.delenv("VID_ASSETS_CONFIG", raising=False)
    assert main(["migrate"]) == 0
    assert "clips: gained end_s" in capsys.readouterr().out
    assert main(["migrate"]) == 0
    assert "nothing to migrate" in capsys.readouterr().out
