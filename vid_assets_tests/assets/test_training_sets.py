"""`training_set/<stage>`: what is said where nothing can be in it."""

from __future__ import annotations

import pytest

from vid_assets.assets.train import training_set as training_sets
from vid_assets.assets.train.training_set import StaleInputsError
from vid_assets_tests.harness import Home, run_asset
from vid_assets_tests.stored import Stored


def test_an_empty_training_set_says_what_became_of_its_samples(tmp_path, monkeypatch):
    stored = Stored(Home(tmp_path / "home", tmp_path / "no models", text_encoder=None))
    project = stored.project
    with pytest.raises(StaleInputsError, match=r"no kept clip fills its buckets.*`curated_clips`"):
        run_asset(project, "training_set/short")

    ids = stored.video("one")
    project.store.delete("latents", "true")
    failed = {"source_hash": stored.video_id("one"), "status": "failed", "error": "not finite"}
    project.store.upsert("latents", [failed | {"sample_id": sample_id} for sample_id in ids])
    with pytest.raises(StaleInputsError, match="none of its 2 samples has a latent: not finite; "):
        run_asset(project, "training_set/short")

    project.store.delete("latents", "true")
    stored.latents("one", ids)
    lacking = training_sets.Conditioning({}, dict.fromkeys(ids, "text"))
    monkeypatch.setattr(training_sets, "conditioning", lambda *arguments: lacking)
    with pytest.raises(StaleInputsError, match="none of its 2 samples has all of its embeddings: text of 2; "):
        run_asset(project, "training_set/short")


def test_a_kind_of_conditioning_that_came_later_changes_no_set_in_which_no_member_has_it(monkeypatch):
    member = {"sample_id": "a", "embedding_key": "k", "pooled_key": None, "image_key": None, "split": "train"}
    before = training_sets._identity(member)
    assert ("pooled_key", None) in before, "as it always was"
    monkeypatch.setattr(training_sets, "_LATER", {"pose_key"})
    assert training_sets._identity(member | {"pose_key": None}) == before
    assert training_sets._identity(member | {"pose_key": "p"}) != before
