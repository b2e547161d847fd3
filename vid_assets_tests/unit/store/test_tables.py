"""The LanceDB tables: slices, inserts, schema version, and names that SQL could stumble over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.schemas.base import SCHEMA_VERSION
from vid_assets.store.tables import Store, StoreError, content_hashes, equals, one_of, quote


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a home"))


def clip(name: str, batch: str = "b1", **values: Any) -> dict[str, Any]:
    return {"clip_id": name, "ingest_batch": batch, "video_id": "v", "start_s": 0.0, "end_s": 1.0, **values}


def latent(name: str, payload: bytes | None = b"1234", status: str = "ok") -> dict[str, Any]:
    return {"sample_id": name, "status": status, "latent": payload, "shape": [1] if payload else None}


def keys(store: Store, table: str = "clips", where: str = "true") -> list[str]:
    (key,) = table_spec(table).key
    return [row[key] for row in store.read(table, where, [key])]


def test_a_table_that_does_not_exist_has_no_rows(store):
    assert store.read("clips") == []
    assert store.read("clips", columns=["clip_id", "start_s"]) == []
    assert (store.count("clips"), store.version("clips")) == (0, None)
    store.delete("clips", "true")
    assert not store.exists("clips")


def test_rows_come_back_in_order_of_key(store):
    store.upsert("clips", [clip("b"), clip("a"), clip("c", "b2")])
    assert keys(store) == ["a", "b", "c"]
    assert keys(store, where=equals("ingest_batch", "b1")) == ["a", "b"]
    assert store.read("clips", columns=["start_s"]) == [{"start_s": 0.0}] * 3


def test_what_is_not_given_is_null(store):
    store.upsert("clips", [clip("a")])
    assert store.read("clips")[0]["frame_count"] is None


def test_an_upsert_updates_by_key_in_one_commit(store):
    store.upsert("clips", [clip("a"), clip("b")])
    before = store.version("clips")
    after = store.upsert("clips", [clip("b", end_s=9.0), clip("c")])
    assert after == before + 1
    assert [row["end_s"] for row in store.read("clips")] == [1.0, 9.0, 1.0]


def test_an_insert_leaves_what_is_there(store):
    store.insert_absent("latents", [latent("a", b"old!")])
    store.insert_absent("latents", [latent("a", b"new!"), latent("b", b"new!")])
    assert [payload for _, payload in store.read_blobs("latents", "true", "latent")] == [b"old!", b"new!"]


def test_a_failed_row_gives_way_to_the_next_try_and_a_good_one_does_not(store):
    store.insert_absent("latents", [latent("a", b"old!"), latent("b", None, "failed")])
    again = [latent("a", b"new!"), latent("b", b"new!")]
    store.insert_absent("latents", again, replace_where="target.status = 'failed'")
    found = {row["sample_id"]: (row["status"], blob) for row, blob in store.read_blobs("latents", "true", "latent")}
    assert found == {"a": ("ok", b"old!"), "b": ("ok", b"new!")}


def test_nothing_to_write_makes_no_version(store):
    store.upsert("clips", [clip("a")])
    before = store.version("clips")
    assert store.upsert("clips", []) == store.insert_absent("clips", []) == before


@pytest.mark.parametrize("size", [1, 4096, 70_000, 5_000_000])
def test_blobs_of_every_size_come_back_and_share_blob_files(store, size):
    payloads = {name: bytes([index]) * size for index, name in enumerate("abc", 1)}
    store.insert_absent("latents", [latent(name, payload) for name, payload in payloads.items()])
    found = store.read_blobs("latents", one_of("sample_id", ["a", "c"]), "latent")
    assert {row["sample_id"]: blob for row, blob in found} == {"a": payloads["a"], "c": payloads["c"]}
    assert list(Path(store.table_uri("latents")).rglob("*.blob"))


@pytest.mark.parametrize("name", ["it's", "''", "a' OR 'a' = 'a", 'say "hi"', "back\\slash", "映画 ; --", "%_", ""])
def test_names_are_quoted(store, name):
    store.upsert("clips", [clip(name, batch=name), clip("bystander")])
    assert keys(store, where=equals("clip_id", name)) == [name]
    assert keys(store, where=one_of("clip_id", [name, "nobody"])) == [name]
    store.delete("clips", equals("ingest_batch", name))
    assert keys(store) == ["bystander"]


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_quoted_text_is_one_literal(text):
    literal = quote(text)
    assert literal[0] == literal[-1] == "'"
    assert literal[1:-1].replace("''", "") == text.replace("'", "")
    assert literal.count("'") % 2 == 0


def test_conditions_on_nothing():
    assert equals("ingest_batch", None) == "true"
    assert one_of("clip_id", []) == "false"


@pytest.mark.parametrize("found", ["99", None])
def test_another_schema_version_is_refused_and_left_as_it_is(store, found):
    old = pa.schema(
        [pa.field("clip_id", pa.string())], metadata={"vid_assets.schema_version": found} if found else None
    )
    table = lancedb.connect(store.uri).create_table("clips", schema=old)
    for action in (
        lambda: store.read("clips"),
        lambda: store.upsert("clips", [clip("a")]),
        lambda: store.delete("clips", "true"),
    ):
        with pytest.raises(StoreError) as caught:
            action()
        message = str(caught.value)
        assert f"has schema version {found or 'none'}, this release reads {SCHEMA_VERSION}" in message
        assert store.table_uri("clips") in message
        assert "VID_ASSETS_HOME" in message
    assert table.schema.names == ["clip_id"]


@pytest.mark.parametrize("name", table_names())
def test_every_table_can_be_made_and_carries_its_version(store, name):
    table = store.table(name)
    assert table.schema.metadata[b"vid_assets.schema_version"].decode() == SCHEMA_VERSION
    assert set(table_spec(name).key) <= {field.name for field in table_spec(name).columns}
    assert store.read(name) == []


def test_the_content_hash_sees_what_is_stored_and_nothing_else():
    spec = table_spec("clips")
    row = clip("a", frame_count=3)

    def content_hash(one):
        return content_hashes([one], spec)[0]

    assert content_hash(row | {"cache_key": "x", "content_hash": "y"}) == content_hash(row)
    assert content_hash(row | {"end_s": 2.0}) != content_hash(row)
    assert content_hash(row | {"end_s": 1}) == content_hash(row), "as the table holds it"
    assert content_hash(row | {"kind": None}) == content_hash(row), "not given is NULL"
