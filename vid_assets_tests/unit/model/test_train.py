"""A training run: exact resume after any interruption, and refusal of what would be another run."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from model import checkpoint
from model.checkpoint import CheckpointError
from model.data.order import OrderError
from model.evaluation.heldout import HeldoutLoss
from model.manifest import TRAIN_CODE_VERSION, ManifestError, check_train
from model.train import StopRequest, main
from model.training import trainer
from model.training.parallel import Stopped
from model.training.run_state import OtherRunError
from model.training.start import StartError
from model.training.trainer import TrainingError
from model.weights import WeightsError, checkpoint_hash, weights_hash
from vid_assets_tests.unit.model.stopping import after, never
from vid_assets_tests.unit.model.tables import losses_of, manifest, train

STEPS = 24
NO_WARMUP = {"name": "constant", "warmup_steps": 0, "final_share": 0.0}


class Recorder:
    """A reporter that remembers, and can ask the run to stop when it has come to a step."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        self.events.append(("progress", (step, total, metrics)))

    def checkpoint(self, folder: str, step: int) -> None:
        self.events.append(("checkpoint", step))

    def finished(self, summary: dict[str, Any]) -> None:
        self.events.append(("finished", summary))


@pytest.fixture(scope="module")
def undisturbed(training_set: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed")
    train(manifest(training_set, output, steps=STEPS), Recorder(), never)
    return output


def assert_same_run(output: Path, undisturbed: Path) -> None:
    assert losses_of(output) == losses_of(undisturbed)
    assert checkpoint_hash(output / "final") == checkpoint_hash(undisturbed / "final")


def test_a_run_that_was_stopped_again_and_again_is_the_same_run(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    asked = manifest(training_set, tmp_path, steps=STEPS)
    for steps in (0, 1, 5, 0, 7):
        with pytest.raises(Stopped, match="enough"):
            train(asked, Recorder(), after(steps))
    assert [folder.name for folder in checkpoint.step_folders(tmp_path)] == ["step-00000012", "step-00000013"]
    train(asked, Recorder(), never)
    assert_same_run(tmp_path, undisturbed)


def test_a_damaged_newest_checkpoint_is_passed_over(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    asked = manifest(training_set, tmp_path, steps=STEPS)
    with pytest.raises(Stopped):
        train(asked, Recorder(), after(9))
    file = checkpoint.step_folder(tmp_path, 9) / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    summary = train(asked, Recorder(), never)
    assert summary["resumed_from"] == 8
    assert_same_run(tmp_path, undisturbed)


def test_a_full_disk_is_said_in_words_and_the_run_goes_on_from_what_was_saved(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    asked, limits = manifest(training_set, tmp_path, steps=STEPS), resource.getrlimit(resource.RLIMIT_FSIZE)
    steps = iter(range(STEPS))

    def fills_up() -> None:
        if next(steps) == 5:  # the weights are larger
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))

    try:
        with pytest.raises(CheckpointError, match=r"step-00000008 could not be written: .*started again"):
            train(asked, Recorder(), fills_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [folder.name for folder in tmp_path.glob("*step-*")] == ["step-00000004"]
    assert train(asked, Recorder(), never)["resumed_from"] == 4
    assert_same_run(tmp_path, undisturbed)


def test_a_reader_that_is_gone_stops_the_run_in_order(training_set: dict[str, Any], tmp_path: Path) -> None:
    class Gone(Recorder):
        def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
            raise BrokenPipeError

    with pytest.raises(Stopped, match="nobody reads"):
        train(manifest(training_set, tmp_path), Gone(), never)
    assert checkpoint.latest(tmp_path) == checkpoint.step_folder(tmp_path, 1)


def test_resume_with_another_recipe_is_refused_with_the_difference(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(manifest(training_set, tmp_path), Recorder(), after(3))
    before = sorted(path.name for path in tmp_path.iterdir())
    other = manifest({**training_set, "digest": "d2"}, tmp_path, lr=2e-3)
    with pytest.raises(OtherRunError) as refusal:
        train(other, Recorder(), never)
    assert "recipe.lr: 0.001 before, 0.002 now" in str(refusal.value)
    assert 'training_set.digest: "d1" before, "d2" now' in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(OtherRunError, match=r"recipe\.seed: 7 before, 8 now"):
        train(manifest(training_set, undisturbed, steps=STEPS, seed=8), Recorder(), never)


def test_a_finished_run_is_not_trained_again_wherever_its_data_lies_now(
    training_set: dict[str, Any], undisturbed: Path
) -> None:
    moved = {**training_set, "latents_uri": "/moved/latents.lance"}
    recorder = Recorder()
    summary = train(manifest(moved, undisturbed, steps=STEPS, threads=2, checkpoint_every=1), recorder, never)
    assert summary["steps"] == STEPS
    assert [name for name, _ in recorder.events] == ["finished"]


def test_the_final_folder_says_what_it_was_made_of(training_set: dict[str, Any], undisturbed: Path) -> None:
    record = json.loads((undisturbed / "final" / "checkpoint.json").read_text())
    assert record["weights_hash"] == checkpoint_hash(undisturbed / "final")
    assert record["training_set_digest"] == training_set["digest"]
    assert record["latents_version"] == training_set["latents_version"]
    assert record["vae_weights_hash"] == "w"
    assert (record["code_version"], record["train_code_version"]) == ("1", TRAIN_CODE_VERSION)
    losses = losses_of(undisturbed)
    assert len(losses) == STEPS
    summary = record["summary"]
    assert summary["samples"] == {"image": 12, "video": 36}  # a quarter, as declared
    assert losses[0] > sum(losses[-2:]) / 2
    assert summary["read_through_lance"] is None
    assert weights_hash(undisturbed / "final" / "ema") != weights_hash(undisturbed / "final" / "denoiser")
    assert len(checkpoint.step_folders(undisturbed)) == 2


# A change of the algorithm moves these numbers and must bump TRAIN_CODE_VERSION, which then needs numbers of its own.
GOLDEN = {"3": [1.69711, 1.68861, 1.48292, 1.19687]}


def test_losses_change_only_with_the_code_version(undisturbed: Path) -> None:
    losses = losses_of(undisturbed)
    assert [losses[step] for step in (0, 1, 5, 20)] == pytest.approx(GOLDEN[TRAIN_CODE_VERSION], abs=5e-3)


def test_a_stage_starts_from_the_weights_of_the_one_before(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    final = undisturbed / "final"
    parent = {"folder": str(final), "weights_hash": checkpoint_hash(final), "weights": "ema"}
    still = {**manifest(training_set, tmp_path / "next", steps=1, lr=0.0), "parent": parent}
    train(still, Recorder(), never)
    assert weights_hash(tmp_path / "next" / "final" / "denoiser") == weights_hash(final / "ema")
    with pytest.raises(StartError, match="changed or replaced"):
        train({**still, "output": str(tmp_path / "x"), "parent": {**parent, "weights_hash": "0"}}, Recorder(), never)


def test_pretrained_weights_must_be_of_the_architecture_of_the_preset(
    training_set: dict[str, Any], undisturbed: Path, tmp_path: Path
) -> None:
    folder = undisturbed / "final" / "denoiser"
    weights = {"folder": str(folder), "weights_hash": weights_hash(folder)}
    still = manifest(training_set, tmp_path / "run", steps=1, lr=0.0, weights=weights)
    train(still, Recorder(), never)
    assert weights_hash(tmp_path / "run" / "final" / "denoiser") == weights["weights_hash"]
    with pytest.raises(WeightsError, match=r"not of the preset wan-tiny: .*num_layers is 4, not "):
        train(manifest(training_set, tmp_path / "x", weights=weights, model="wan-tiny"), Recorder(), never)


def test_a_heldout_loss_that_is_not_finite_ends_the_run(
    training_set: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "heldout_loss", lambda *_, **__: HeldoutLoss(float("nan"), {}, {}, 1))
    with pytest.raises(TrainingError, match="after step 0: the held-out loss is nan"):
        train(manifest(training_set, tmp_path), Recorder(), never)


def test_a_loss_that_is_not_finite_ends_the_run_and_saves_nothing(training_set: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(training_set, tmp_path, lr=1e30, schedule=NO_WARMUP, checkpoint_every=100)
    with pytest.raises(TrainingError, match="not finite"):
        train(asked, Recorder(), never)
    assert not checkpoint.step_folders(tmp_path)
    assert not (tmp_path / "final").exists()


def test_a_mix_that_cannot_be_had_is_refused_before_the_first_step(
    training_set: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(OrderError, match="4 image samples, but image_share 0"):
        train(manifest(training_set, tmp_path, image_share=0.0), Recorder(), never)


def test_signals_ask_for_a_stop() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        stop = StopRequest(None)
        assert stop.reason() is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason() == "received SIGTERM"
        assert "is gone" in (StopRequest(parent_pid=1 << 30).reason() or "")
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before):
            signal.signal(number, handler)


def test_the_command_explains_a_bad_request_in_one_line(
    training_set: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["--manifest", str(tmp_path / "none.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    file = tmp_path / "m.json"
    file.write_text(json.dumps(manifest(training_set, tmp_path / "out")))
    assert main(["--manifest", str(file), "--report", "no.such:thing"]) == 1
    assert "give module:attribute" in capsys.readouterr().err


def test_every_problem_of_a_manifest_is_named(training_set: dict[str, Any], tmp_path: Path) -> None:
    bad = manifest(training_set, tmp_path, steps="many")
    del bad["recipe"]["lr"], bad["output"]
    with pytest.raises(ManifestError) as error:
        check_train(bad)
    with pytest.raises(ManifestError, match=r"share_unit is 'frames'; it must be samples or tokens"):
        check_train(manifest(training_set, tmp_path, share_unit="frames"))
    for part in ("recipe.lr is missing", "recipe.steps is 'many'", "output is missing"):
        assert part in str(error.value)
