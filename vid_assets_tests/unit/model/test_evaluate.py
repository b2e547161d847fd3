"""Evaluation: a held-out loss on fixed noise, and videos that a browser plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from model import denoiser
from model.evaluate import EVALUATE_CODE_VERSION, EvaluationError, evaluate
from model.weights import weights_hash
from vid_assets_tests.unit.model.tables import (
    manifest,
    member,
    mixed_training_set,
    sample_row,
    write_training_set,
)


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "final"
    denoiser.build("tiny-dit", 0).save_pretrained(str(folder / "ema"))
    return folder


def request(training_set: dict[str, Any], vae: Path, final: Path, output: Path, videos: int = 2) -> dict[str, Any]:
    base = manifest(training_set, output)
    return {
        "training_set": training_set,
        "vae": {**base["vae"], "path": str(vae), "weights_hash": weights_hash(vae)},
        "recipe": base["recipe"],
        "checkpoint": str(final),
        "evaluation": {"videos": videos, "sampling_steps": 3, "fps": 8, "seed": 0},
        "output": str(output),
    }


# A change of the algorithm moves this number and must bump EVALUATE_CODE_VERSION, which then needs one of its own.
GOLDEN = {"1": 1.44220}


def test_evaluation_is_repeatable_and_writes_playable_videos(vae_folder: Path, final: Path, tmp_path: Path) -> None:
    asked = request(mixed_training_set(tmp_path / "tables", 16, 16), vae_folder, final, tmp_path / "out")
    first, second = evaluate(asked), evaluate(asked)
    assert first["heldout_loss"] == second["heldout_loss"] == pytest.approx(GOLDEN[EVALUATE_CODE_VERSION], abs=5e-3)
    assert first["heldout_samples"] == 1
    assert first["note"] is None
    assert first["bucket"] == "17x16x16@8"
    names = [(video["name"], video["kind"], video["sample_id"]) for video in first["videos"]]
    # the held-out sample first
    assert names[:2] == [("video-00", "generated", "s004"), ("data-00", "data", "s004")]
    assert len(names) == 4
    for one, other in zip(first["videos"], second["videos"]):
        assert np.array_equal(one["frames"], other["frames"])
        assert Path(one["gif"]).is_file()
        with av.open(one["path"]) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 8
        assert np.stack(frames).shape == one["frames"].shape == (17, 16, 16, 3)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["heldout_loss"] == first["heldout_loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tables"]


def test_a_stage_of_stills_without_held_out_samples_says_so(vae_folder: Path, final: Path, tmp_path: Path) -> None:
    rows = [sample_row(index, (32, 1, 2, 2)) for index in range(2)]
    training_set = write_training_set(tmp_path / "tables", rows, [member(index, "1x16x16") for index in range(2)])
    result = evaluate(request(training_set, vae_folder, final, tmp_path / "out", videos=3))
    assert result["heldout_loss"] is None
    assert "no sample of this training set is held out" in result["note"]
    assert [video["name"] for video in result["videos"]] == ["video-00", "data-00", "video-01", "data-01", "video-02"]
    assert all(Path(video["path"]).suffix == ".png" and video["gif"] is None for video in result["videos"])
    assert not np.array_equal(result["videos"][0]["frames"], result["videos"][4]["frames"])


def test_another_vae_or_an_unfinished_checkpoint_is_refused(vae_folder: Path, final: Path, tmp_path: Path) -> None:
    asked = request(mixed_training_set(tmp_path / "tables", 16, 16), vae_folder, final, tmp_path / "out")
    with pytest.raises(EvaluationError, match="not the VAE"):
        evaluate({**asked, "vae": {**asked["vae"], "weights_hash": "0"}})
    with pytest.raises(EvaluationError, match="no finished checkpoint"):
        evaluate({**asked, "checkpoint": str(tmp_path)})
    assert not (tmp_path / "out").exists()
