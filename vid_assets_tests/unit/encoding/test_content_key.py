"""The content key of a latent: everything that makes it, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vid_assets.encoding.content_key import LatentParts, latent_parts, transform_name
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.windows import Window
from vid_assets.store.schemas import table_spec

VIDEO = Bucket.parse("5x32x48@8")
STREAM = {
    "video_id": "source",
    "kind": "video",
    "stream_index": 0,
    "rotation": 90,
    "is_mirrored": False,
    "is_interlaced": None,
    "color_transfer": None,
    "pix_fmt": "yuv420p",
    "sample_aspect": None,
}
CLOCK = [frame / 24 for frame in range(240)]
GIVEN: dict[str, Any] = {
    "video": STREAM,
    "timestamps": CLOCK,
    "window": Window(VIDEO, 1.5, 3),
    "crop": (0, 8, 96, 48),
    "decoder": "pyav 17",
    "vae_family": "hunyuan_video",
    "weights_hash": "weights",
    "encode_settings": "{}",
    "posterior": "moments, unscaled",
    "dtype": "float16",
    "code_version": "1.1",
}
PARTS = latent_parts(**GIVEN)

TEXT = st.text(max_size=12)
SECONDS = st.floats(0, 1e5, allow_nan=False)
ANY_PARTS = st.builds(
    LatentParts,
    source_hash=TEXT,
    stream_index=st.none() | st.integers(0, 9),
    rotation=st.none() | st.sampled_from([0, 90, 180, 270]),
    start_s=SECONDS,
    clock=TEXT,
    fps=st.none() | st.floats(0.5, 240),
    frames=st.integers(1, 200),
    height=st.integers(16, 2000),
    width=st.integers(16, 2000),
    transform=TEXT,
    decoder=TEXT,
    vae=TEXT,
    weights_hash=TEXT,
    encode_settings=TEXT,
    posterior=TEXT,
    dtype=TEXT,
    code_version=TEXT,
)


#: Another value of the same kind for each part, never the same one.
OTHER: dict[str, Any] = {
    **{field.name: lambda text: text + "x" for field in fields(LatentParts)},
    "stream_index": lambda number: 0 if number is None else number + 1,
    "rotation": lambda degrees: 90 if degrees is None else (degrees + 90) % 360,
    "start_s": lambda seconds: seconds + 1e-6,
    "fps": lambda rate: None if rate is not None else 8.0,
    **{name: lambda number: number + 1 for name in ("frames", "height", "width")},
}


@settings(max_examples=200, deadline=None)
@given(ANY_PARTS, st.sampled_from([field.name for field in fields(LatentParts)]))
def test_any_single_part_that_changes_makes_another_key(parts, name):
    changed = replace(parts, **{name: OTHER[name](getattr(parts, name))})
    assert changed.sample_id != parts.sample_id
    assert replace(changed, **{name: getattr(parts, name)}).sample_id == parts.sample_id


@settings(max_examples=200, deadline=None)
@given(ANY_PARTS, ANY_PARTS, st.sampled_from([field.name for field in fields(LatentParts)]))
def test_keys_are_equal_for_equal_parts_alone(one, other, name):
    changed = replace(one, **{name: getattr(other, name)})
    assert (changed.sample_id == one.sample_id) == (changed == one)


@settings(max_examples=100, deadline=None)
@given(ANY_PARTS, TEXT, TEXT)
def test_text_that_moves_from_one_part_to_the_next_makes_another_key(parts, one, other):
    left = replace(parts, vae=one + other, weights_hash="")
    right = replace(parts, vae=one, weights_hash=other)
    assert (left.sample_id == right.sample_id) == (left == right)


def test_the_key_stays_what_it_is():
    """A changed way of hashing would encode everything anew: that must be on purpose."""
    assert PARTS.sample_id == "70fe44652c704821000e6e62ad585d71bd4a450710a214739e717d668d4456c0"


@pytest.mark.parametrize(
    "change",
    [
        {"video": STREAM | {"video_id": "another file"}},
        {"video": STREAM | {"stream_index": 3}},
        {"video": STREAM | {"rotation": 0}},
        {"video": STREAM | {"is_mirrored": True}},
        {"video": STREAM | {"is_interlaced": True}},
        {"video": STREAM | {"color_transfer": "smpte2084"}},
        {"video": STREAM | {"pix_fmt": "yuva420p"}},
        {"video": STREAM | {"sample_aspect": 4 / 3}},
        {"timestamps": [time_s + 0.01 for time_s in CLOCK]},
        {"window": Window(VIDEO, 1.625, 3)},
        {"window": Window(Bucket.parse("9x32x48@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x48x48@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x32x32@8"), 1.5, 3)},
        {"window": Window(Bucket.parse("5x32x48@12"), 1.5, 3)},
        {"crop": None},
        {"crop": (0, 8, 96, 46)},
        {"decoder": "decord 0.6.0"},
        {"vae_family": "wan"},
        {"weights_hash": "other weights"},
        {"encode_settings": '{"tiling":true}'},
        {"posterior": "mean, unscaled"},
        {"dtype": "float32"},
        {"code_version": "2.1"},
    ],
    ids=lambda change: "-".join(change),
)
def test_each_thing_that_changes_a_latent_changes_its_key(change):
    assert latent_parts(**GIVEN | change).sample_id != PARTS.sample_id


def test_the_number_of_a_window_is_not_in_its_key():
    """A clip that begins elsewhere has other numbers for the same stretch of video."""
    assert latent_parts(**GIVEN | {"window": Window(VIDEO, 1.5, 0)}).sample_id == PARTS.sample_id


def test_a_rename_another_batch_and_another_caption_are_not_in_the_key():
    elsewhere = STREAM | {"uri": "moved.mp4", "ingest_batch": "b00009", "caption_key": "c", "cache_key": "k"}
    assert latent_parts(**GIVEN | {"video": elsewhere}).sample_id == PARTS.sample_id


def test_frames_that_are_not_taken_are_not_in_the_key():
    assert latent_parts(**GIVEN | {"timestamps": [*CLOCK, 10.5]}).sample_id == PARTS.sample_id


def test_places_batches_and_the_cutting_of_work_are_no_parts():
    names = {field.name for field in fields(LatentParts)}
    assert not names & {"uri", "ingest_batch", "batch_size", "flush_rows", "device", "threads", "clip_id", "index"}


def test_every_part_is_a_column_of_the_table():
    columns = {field.name for field in table_spec("latents").columns}
    assert {field.name for field in fields(LatentParts)} <= columns


def test_the_crop_is_in_the_transform():
    assert transform_name(None) != transform_name((0, 0, 96, 64))
    assert "crop=0,8,96,48" in transform_name((0, 8, 96, 48))
