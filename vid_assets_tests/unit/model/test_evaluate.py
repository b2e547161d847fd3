"""Evaluation: a held-out loss on fixed noise, videos that a browser plays, and other checkpoints beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from model import denoisers
from model.denoisers import models
from model.denoisers.conditions import Conditions
from model.evaluation.evaluate import EVALUATE_CODE_VERSION, EvaluationError, evaluate
from model.evaluation.heldout import heldout_loss
from model.evaluation.sampling import generate, seeded_noise
from model.objectives import make
from model.vaes.space import Normalisation
from model.weights import weights_hash
from vid_assets_tests.unit.model.tables import (
    embedding_row,
    manifest,
    member,
    mixed_training_set,
    opened,
    sample_row,
    write_record,
    write_training_set,
)


def checkpoint(folder: Path, seed: int) -> Path:
    model: Any = models.build("tiny-dit", seed)
    model.save_pretrained(str(folder / "ema"))
    write_record(folder, weights_hash=f"of {seed}")
    return folder


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("run") / "final", 0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return mixed_training_set(tmp_path_factory.mktemp("tables"), 16, 16)


def request(training_set: dict[str, Any], vae: Path, final: Path, output: Path, videos: int = 2) -> dict[str, Any]:
    base = manifest(training_set, output)
    return {
        "training_set": training_set,
        "vae": {**base["vae"], "path": str(vae), "weights_hash": weights_hash(vae)},
        "recipe": base["recipe"],
        "checkpoint": str(final),
        "evaluation": {"videos": videos, "sampling_steps": 3, "guidance": None, "fps": 8, "seed": 0},
        "output": str(output),
    }


# A change of the algorithm moves this number and must bump EVALUATE_CODE_VERSION, which then needs one of its own.
GOLDEN = {"2": 1.48589}


def test_evaluation_is_repeatable_and_writes_playable_videos(
    mixed: dict[str, Any], vae_folder: Path, final: Path, tmp_path: Path
) -> None:
    asked = request(mixed, vae_folder, final, tmp_path / "out")
    first, second = evaluate(asked), evaluate(asked)
    assert first["heldout_loss"] == second["heldout_loss"] == pytest.approx(GOLDEN[EVALUATE_CODE_VERSION], abs=5e-3)
    assert first["heldout_samples"] == 1
    assert list(first["heldout_loss_by_time"]) == ["0.1", "0.3", "0.5", "0.7", "0.9"]
    assert np.mean(list(first["heldout_loss_by_time"].values())) == pytest.approx(first["heldout_loss"])
    assert first["heldout_loss_by_bucket"] == {"17x16x16@8": pytest.approx(first["heldout_loss"])}
    assert first["note"] is None
    assert first["bucket"] == "17x16x16@8"
    names = [(video["name"], video["kind"], video["sample_id"]) for video in first["videos"]]
    # the held-out sample first
    assert names[:2] == [("video-00", "generated", "s004"), ("data-00", "data", "s004")]
    assert len(names) == 4
    moved = {
        kind: [video["motion"] for video in first["videos"] if video["kind"] == kind] for kind in ("generated", "data")
    }
    assert first["motion"] == np.mean(moved["generated"]) and first["data_motion"] == np.mean(moved["data"])
    assert first["motion_ratio"] == pytest.approx(first["motion"] / first["data_motion"])
    for one, other in zip(first["videos"], second["videos"]):
        assert np.array_equal(one["frames"], other["frames"])
        assert Path(one["gif"]).is_file()
        with av.open(one["path"]) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 8
        assert np.stack(frames).shape == one["frames"].shape == (17, 16, 16, 3)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["heldout_loss"] == first["heldout_loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_checkpoints_are_given_the_same_samples_and_noise(
    mixed: dict[str, Any], vae_folder: Path, final: Path, tmp_path: Path
) -> None:
    asked = request(mixed, vae_folder, final, tmp_path / "out", videos=1)
    same = checkpoint(tmp_path / "same", 0)
    other = checkpoint(tmp_path / "other", 1)
    asked["compare"] = [{"name": "same", "folder": str(same)}, {"name": "parent", "folder": str(other)}]
    result = evaluate(asked)
    found = {one["name"]: one for one in result["compare"]}
    assert found["same"]["heldout_loss"] == result["heldout_loss"] != found["parent"]["heldout_loss"]
    assert found["parent"]["weights_hash"] == "of 1"
    generated = result["videos"][0]["frames"]
    assert np.array_equal(found["same"]["videos"][0]["frames"], generated)
    assert not np.array_equal(found["parent"]["videos"][0]["frames"], generated)
    assert found["same"]["motion_ratio"] == result["motion_ratio"]
    paths = [Path(video["path"]) for one in (result, *result["compare"]) for video in one["videos"]]
    assert len(set(paths)) == 4 and all(path.is_file() for path in paths)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["compare"][1]["heldout_loss"] == found["parent"]["heldout_loss"]


def test_a_stage_of_stills_without_held_out_samples_says_so(vae_folder: Path, final: Path, tmp_path: Path) -> None:
    rows = [sample_row(index, (32, 1, 2, 2)) for index in range(2)]
    training_set = write_training_set(tmp_path / "tables", rows, [member(index, "1x16x16") for index in range(2)])
    result = evaluate(request(training_set, vae_folder, final, tmp_path / "out", videos=3))
    assert result["heldout_loss"] is None and result["heldout_loss_by_time"] is None
    assert result["motion"] is None and result["motion_ratio"] is None
    assert "no sample of this training set is held out" in result["note"]
    assert [video["name"] for video in result["videos"]] == ["video-00", "data-00", "video-01", "data-01", "video-02"]
    assert all(Path(video["path"]).suffix == ".png" and video["gif"] is None for video in result["videos"])
    assert not np.array_equal(result["videos"][0]["frames"], result["videos"][4]["frames"])


def test_another_vae_or_an_unfinished_checkpoint_is_refused(
    mixed: dict[str, Any], vae_folder: Path, final: Path, tmp_path: Path
) -> None:
    asked = request(mixed, vae_folder, final, tmp_path / "out")
    with pytest.raises(EvaluationError, match="not the VAE"):
        evaluate({**asked, "vae": {**asked["vae"], "weights_hash": "0"}})
    with pytest.raises(EvaluationError, match="no finished checkpoint"):
        evaluate({**asked, "checkpoint": str(tmp_path)})
    with pytest.raises(EvaluationError, match="no finished checkpoint"):
        evaluate({**asked, "compare": [{"name": "other", "folder": str(tmp_path)}]})
    assert not (tmp_path / "out").exists()


def test_the_held_out_loss_depends_on_no_other_sample_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """Among other held-out samples, with longer captions and in other buckets, a sample's losses stay the same."""

    rows = [sample_row(index, (32, frames, 2, 2)) for index, frames in enumerate((3, 3, 1, 3))]
    texts = [embedding_row("k1", 5), embedding_row("k2", 9)]
    buckets = ["9x16x16@8", "9x16x16@8", "1x16x16", "9x16x16@8"]
    splits = ["heldout", "heldout", "heldout", "train"]
    captions = ["k1", "k2", None, None]
    members = [member(index, *row) for index, row in enumerate(zip(buckets, captions, splits, strict=True))]
    normalisation = Normalisation((0.0,) * 16, (0.476986,) * 16)
    model = models.build("tiny-dit", 0)
    found = []
    for number, chosen in enumerate((members, [members[0], members[3]])):
        data = opened(write_training_set(tmp_path / str(number), rows, chosen, texts), 16)
        before = torch.get_rng_state()
        loss = heldout_loss(model, "tiny-dit", make({"name": "flow_matching"}), data, normalisation, 3, "cpu")
        assert model.training and torch.equal(torch.get_rng_state(), before)
        found.append(loss)
    assert (found[0].samples, found[1].samples) == (3, 1)
    assert found[0].by_bucket.keys() == {"9x16x16@8", "1x16x16"}
    alone = found[1].mean
    assert alone is not None and found[0].mean is not None
    second = opened(write_training_set(tmp_path / "second", rows, [members[1], members[3]], texts), 16)
    other = heldout_loss(model, "tiny-dit", make({"name": "flow_matching"}), second, normalisation, 3, "cpu").mean
    assert other is not None
    assert found[0].by_bucket["9x16x16@8"] == pytest.approx((alone + other) / 2, rel=1e-12)


def test_guidance_moves_away_from_the_prediction_without_conditions() -> None:
    model, family = models.build("tiny-dit", 0), denoisers.family("wan")
    given = Conditions({"text": [torch.ones(3, 64)]}, [None], text_tokens=8)
    noise = seeded_noise(0, "a", (1, 16, 2, 2, 2))
    step = make({"name": "flow_matching"})
    made = {g: generate(model, family, step, given, noise, 1, g) for g in (None, 0.0, 1.0, 3.0)}
    plain = generate(model, family, step, given.without_captions([True]), noise, 1, None)
    assert torch.equal(made[None], made[1.0])
    torch.testing.assert_close(made[0.0], plain)
    # one Euler step of the flow is linear in the prediction
    torch.testing.assert_close(made[3.0], plain + 3 * (made[1.0] - plain), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made[3.0], made[1.0])


def test_embedded_guidance_is_given_to_the_model_instead() -> None:
    model, family = models.build("hunyuan-video-tiny", 0), denoisers.family("hunyuan_video")
    calls = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["guidance"].tolist()), with_kwargs=True
    )
    noise = seeded_noise(0, "a", (1, 16, 1, 4, 4))
    generate(model, family, make({"name": "flow_matching"}), Conditions.none(1), noise, 2, 6.0)
    assert calls == [[6000.0], [6000.0]]
