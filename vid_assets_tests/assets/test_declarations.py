"""What an asset declares is all that its work can see, and all that is said of it elsewhere follows from that."""

from __future__ import annotations

import dataclasses

import pytest

from vid_assets.assets import assets_of
from vid_assets.assets.asset import Asset, slice_digest, tables_of
from vid_assets.assets.facts import Facts, fact
from vid_assets.home.removal import removal_of
from vid_assets.store.schemas import table_names, table_spec
from vid_assets.store.tables import UndeclaredTableError
from vid_assets_tests.harness import CONFIG, Home, work_of
from vid_assets_tests.stored import Stored


@pytest.fixture
def made(tmp_path) -> Home:
    return Home(tmp_path / "home", tmp_path / "no models", image_encoder={"source": "./clip"})


def partition(made: Home, name: str) -> str | None:
    return {"batch": "b00001", "experiment": "one", None: None}[assets_of(made.project.config)[name].partitions]


ALL = [
    *("source_files", "raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions"),
    *("text_embeddings", "duplicates", "vae", "latents", "image_embeddings"),
    *(f"{what}/{stage['name']}" for stage in CONFIG["stages"] for what in ("training_set", "checkpoint", "evaluation")),
]


def test_these_are_all(made):
    assert set(ALL) == set(assets_of(made.project.config))


@pytest.mark.parametrize("name", ALL)
def test_the_work_of_an_asset_sees_the_tables_that_it_declared_and_no_other(made, name):
    work = work_of(made.project, name, partition(made, name))
    declared = tables_of(work.asset, assets_of(made.project.config))
    for table in declared:
        assert work.store.read(table) == []
    for table in set(table_names()) - declared:
        for use in (work.store.read, work.store.count, work.store.table, work.store.table_uri):
            with pytest.raises(UndeclaredTableError, match=rf"{name} reads the table {table}"):
                use(table)


@pytest.mark.parametrize("name", ALL)
def test_the_work_of_an_asset_writes_the_tables_that_it_declared_and_no_other(made, name):
    work = work_of(made.project, name, partition(made, name))
    its_own = {*work.asset.tables, *work.asset.writes}
    for table in its_own:
        work.store.delete(table, "true")
    for table in tables_of(work.asset, assets_of(made.project.config)) - its_own:
        made.project.store.table(table)  # there, as a table that is not is nothing to delete from
        row = dict.fromkeys(table_spec(table).key, "one")
        for write in (
            lambda table=table, row=row: work.store.upsert(table, [row]),
            lambda table=table, row=row: work.store.insert_absent(table, [row]),
            lambda table=table: work.store.delete(table, "true"),
        ):
            with pytest.raises(UndeclaredTableError, match=rf"{name} writes the table {table}"):
                write()


def test_a_store_that_was_narrowed_is_never_widened(made):
    made.project.store.table("videos")
    narrow = made.project.store.only(["videos", "clips"], ["clips"], "one").only(
        ["latents"], ["videos", "clips"], "two"
    )
    narrow.delete("clips", "true")
    with pytest.raises(UndeclaredTableError, match="two writes the table videos; it declares that it writes clips"):
        narrow.delete("videos", "true")
    with pytest.raises(UndeclaredTableError, match="two reads the table latents; it declares that it reads clips, vid"):
        narrow.read("latents")


def written(asset: Asset) -> set[str]:
    return {*asset.tables, *asset.writes}


@pytest.mark.parametrize("name", ALL)
def test_every_table_has_one_writer_or_is_shared_by_a_kind(made, name):
    """But for embeddings of texts and of pictures, and for sources: which there are, and which video each is."""
    assets = assets_of(made.project.config)
    writers = {one.partition("/")[0] for one, asset in assets.items() if written(assets[name]) & written(asset)}
    assert len(writers) <= 1 or writers in ({"text_embeddings", "image_embeddings"}, {"source_files", "raw_videos"})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("clips", "decoding"),
        ("curated_clips", "shots"),
        ("latents", "text_encoder"),
        ("training_set/short", "policy"),
        ("checkpoint/short", "evaluation"),
    ],
)
def test_the_work_of_an_asset_sees_the_settings_that_it_declared_and_no_other(made, name, key):
    work = work_of(made.project, name, partition(made, name))
    for settings in (work.config, work.runtime):
        with pytest.raises(KeyError):
            settings[key]


def test_of_a_section_that_enters_in_part_the_other_keys_are_not_there(made):
    work = work_of(made.project, "latents", "b00001")
    assert work.config["encoding"].dtype == made.project.config.encoding.dtype
    with pytest.raises(AttributeError, match="batch_size is no declared part of Encoding; declared are posterior"):
        _ = work.config["encoding"].batch_size
    with pytest.raises(AttributeError, match="posterior is no declared part of Encoding"):
        _ = work.runtime["encoding"].posterior


def test_inputs_are_only_what_was_declared(made):
    work = work_of(made.project, "clips", "b00001")
    with pytest.raises(AssertionError, match="clips does not declare latents as an input"):
        work.state("latents", "b00001")


def test_a_removal_knows_every_table_whose_rows_belong_to_a_video(tmp_path):
    """By the tables' own word: one with such a column that says nothing of it would keep rows of a removed video."""
    whose = {"video_id", "source_hash", "clip_id", "duplicate_of"}
    stay = {"sources", "splits", "removals"}
    for name in table_names():
        spec = table_spec(name)
        columns = {field.name for field in spec.columns} & whose
        assert set(spec.of_video) <= columns
        assert bool(columns) == bool(spec.of_video) or name in stay, name
    stored = Stored(Home(tmp_path / "other", tmp_path / "no models", text_encoder=None))
    stored.video("one")
    found = removal_of(stored.project, "one.mp4").where
    assert set(found) == {"embeddings", *(name for name in table_names() if table_spec(name).of_video)}


def test_an_asset_without_a_table_says_how_its_output_is_verified(made):
    standard = next(field.default for field in dataclasses.fields(Asset) if field.name == "verify")
    for name, asset in assets_of(made.project.config).items():
        assert asset.table or asset.verify is not standard, name


def test_an_asset_of_experiments_says_itself_how_its_output_is_verified(made):
    """Its table has no column of the batch, by which others find their slice."""
    work = work_of(made.project, "checkpoint/short", "one")
    work.asset = dataclasses.replace(work.asset, tables=("runs",))
    with pytest.raises(AssertionError, match="checkpoint/short must say how its output is verified: which rows"):
        slice_digest(work)


def test_a_fact_whose_label_was_reworded_is_read_by_its_former_one():
    @dataclasses.dataclass(frozen=True)
    class Told(Facts):
        rows: int | None = fact("rows", "number of rows")
        bytes: int | None = fact("bytes")

    assert Told.read({"number of rows": 3, "rows gone": 1}) == Told(3, None)
    assert Told.read({"number of rows": 3, "rows": 4}).shown() == {"rows": 4, "bytes": None}
