"""`training_set/<stage>`: what is said where nothing can be in it."""

from __future__ import annotations

import pytest

from vid_assets.steps import training_sets
from vid_assets.steps.training_sets import StaleInputsError, training_set
from vid_assets_tests.harness import Home
from vid_assets_tests.stored import Stored


def test_an_empty_training_set_says_what_became_of_its_samples(tmp_path, monkeypatch):
    stored = Stored(Home(tmp_path / "home", tmp_path / "no models", text_encoder=None))
    project = stored.project
    monkeypatch.setattr(training_sets, "standings", lambda *arguments: [])
    with pytest.raises(StaleInputsError, match=r"no kept clip fills its buckets.*`curated_clips`"):
        training_set(project, "short")

    ids = stored.video("one")
    project.store.delete("latents", "true")
    failed = {"source_hash": stored.video_id("one"), "status": "failed", "error": "not finite"}
    project.store.upsert("latents", [failed | {"sample_id": sample_id} for sample_id in ids])
    with pytest.raises(StaleInputsError, match="none of its 2 samples has a latent: not finite; "):
        training_set(project, "short")

    project.store.delete("latents", "true")
    stored.latents("one", ids)
    monkeypatch.setattr(
        training_sets, "conditioning", lambda project, rows: training_sets.Conditioning({}, dict.fromkeys(ids, "text"))
    )
    with pytest.raises(StaleInputsError, match="none of its 2 samples has all of its embeddings: text of 2; "):
        training_set(project, "short")
