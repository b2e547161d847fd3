"""What a recipe and its runtime may choose: precision, optimiser, schedule, passes, dry run, what is kept and told."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from model import checkpoint
from model.manifest import ManifestError, check_train, identity
from model.objectives import make
from model.recipe import Schedule, StageSettings
from model.training import dry_run
from model.training.ema import Ema
from model.training.optimizers import rate
from model.training.parallel import Stopped
from model.training.passes import draw, part_of, passes_of
from model.vaes.space import Normalisation
from model.weights import checkpoint_hash, weights_hash
from vid_assets_tests.unit.model.stopping import after, never
from vid_assets_tests.unit.model.tables import losses_of, manifest, opened, train

STEPS = 6
ADAMW = {"weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}


class Recorder:
    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def progress(self, step: int, total: int, metrics: dict[str, float]) -> None:
        self.metrics.append(metrics)

    def checkpoint(self, folder: str, step: int) -> None:
        pass

    def finished(self, summary: dict[str, Any]) -> None:
        pass


def trained(training_set: dict[str, Any], output: Path, recorder: Recorder | None = None, **changes: Any) -> Any:
    """The losses of a run, and its summary."""
    asked = manifest(training_set, output, **{"steps": STEPS, "batch_size": 4, **changes})
    check_train(asked)
    summary = train(asked, recorder or Recorder(), never)
    return losses_of(output), summary


@pytest.fixture(scope="module")
def plain(training_set: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return trained(training_set, tmp_path_factory.mktemp("plain"))[0]


def test_smaller_passes_give_the_same_losses(training_set: dict[str, Any], plain: list[float], tmp_path: Path) -> None:
    one, _ = trained(training_set, tmp_path / "one", micro_batch=1)
    some, _ = trained(training_set, tmp_path / "some", micro_batch={"17x16x16@8": 2})
    assert one == pytest.approx(plain, rel=1e-5)
    assert some == pytest.approx(plain, rel=1e-5)
    assert one != plain  # another order of additions, so that the passes were really smaller


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_full_precision_and_resumes_exactly(
    training_set: dict[str, Any], plain: list[float], tmp_path: Path, precision: str
) -> None:
    losses, _ = trained(training_set, tmp_path / "whole", precision=precision)
    assert losses == pytest.approx(plain, rel=2e-2)
    assert losses != plain
    asked = manifest(training_set, tmp_path / "halves", steps=STEPS, batch_size=4, precision=precision)
    with pytest.raises(Stopped):
        train(asked, Recorder(), after(3))
    train(asked, Recorder(), never)
    assert losses_of(tmp_path / "halves") == losses


def test_a_step_whose_scaled_gradients_overflow_changes_no_weight_and_no_average(
    training_set: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**40))
    recorder = Recorder()
    trained(training_set, tmp_path, recorder, precision="fp16", steps=2)
    assert weights_hash(tmp_path / "final/denoiser") == weights_hash(tmp_path / "final/ema")
    assert "grad_norm" not in recorder.metrics[-1]  # no number that JSON has no word for
    assert "grad_norm" not in json.loads((tmp_path / "final/curves.json").read_text())


@pytest.mark.parametrize("name", ["adamw_fused", "adamw_8bit"])
def test_other_optimisers_follow_adamw_and_resume_exactly(
    training_set: dict[str, Any], plain: list[float], tmp_path: Path, name: str
) -> None:
    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    optimizer = {"name": name, **ADAMW}
    losses, _ = trained(training_set, tmp_path / "whole", optimizer=optimizer)
    assert losses == pytest.approx(plain, rel=2e-2)
    asked = manifest(training_set, tmp_path / "halves", steps=STEPS, batch_size=4, optimizer=optimizer)
    with pytest.raises(Stopped):
        train(asked, Recorder(), after(3))
    train(asked, Recorder(), never)
    assert checkpoint_hash(tmp_path / "halves" / "final") == checkpoint_hash(tmp_path / "whole" / "final")


def test_a_dry_run_leaves_no_trace(training_set: dict[str, Any], plain: list[float], tmp_path: Path) -> None:
    losses, summary = trained(training_set, tmp_path, dry_run=True, activation="block")
    assert losses == plain
    assert summary["recomputed"]["WanTransformerBlock"] == [4, 4]


def test_a_bucket_that_does_not_fit_is_named_before_the_first_step(
    training_set: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def losses(self: Any, one: Any, key: str) -> torch.Tensor:
        tried.append((one.batch.samples[0].bucket, len(one.places)))
        if one.batch.samples[0].bucket.startswith("9x"):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return torch.zeros(1, requires_grad=True)

    monkeypatch.setattr("model.training.step.Gradient.losses", losses)
    with pytest.raises(dry_run.DryRunError, match=r"bucket 9x16x16@8 does not fit: a pass of 3 samples .* micro_batch"):
        trained(training_set, tmp_path, dry_run=True, micro_batch={"9x16x16@8": 3})
    assert tried == [("17x16x16@8", 3), ("9x16x16@8", 3)]  # the longest first; of 4 samples one is an image
    assert not checkpoint.step_folders(tmp_path)


def test_the_best_step_is_kept_beside_the_last(training_set: dict[str, Any], tmp_path: Path) -> None:
    recorder = Recorder()
    # at so high a rate the loss falls for a while and then rises
    _, summary = trained(
        training_set,
        tmp_path,
        recorder,
        steps=10,
        lr=4e-2,
        ema_decay=0.0,
        validate_every=1,
        checkpoint_every=100,
        keep_last=1,
        tensorboard=True,
    )
    curves = json.loads((tmp_path / "final" / "curves.json").read_text())
    heldout = dict(curves["heldout_loss"])
    best = min((loss, step) for step, loss in heldout.items() if step)[1]
    assert summary["heldout"]["best"] == {"step": best, "loss": heldout[best]}
    assert summary["heldout"]["start"] == heldout[0]
    assert summary["heldout"]["final"] == heldout[10]
    assert best < 10  # or this shows nothing
    assert checkpoint.step_folder(tmp_path, best) in checkpoint.step_folders(tmp_path)
    assert recorder.metrics[-1]["heldout_loss"] == heldout[10]
    for name in ("step_seconds", "samples_per_second", "seconds_left", "data_wait_share", "memory_bytes"):
        assert recorder.metrics[-1][name] >= 0
    assert [step for step, _ in curves["loss"]] == list(range(1, 11))
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_that_goes_on_keeps_its_curves(training_set: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(training_set, tmp_path, steps=STEPS, validate_every=2)
    with pytest.raises(Stopped):
        train(asked, Recorder(), after(3))
    summary = train(asked, Recorder(), never)
    curves = json.loads((tmp_path / "final" / "curves.json").read_text())
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in curves["heldout_loss"]] == [0, 2, 4, 6]
    assert summary["heldout"]["start"] == curves["heldout_loss"][0][1]


def test_what_is_drawn_for_a_sample_depends_on_its_place_alone(training_set: dict[str, Any]) -> None:
    data = opened(training_set, 16)
    films = sorted(name for name, sample in data.samples.items() if sample.bucket.startswith("9x"))
    how = Normalisation((0.0,) * 16, (1.0,) * 16)
    objective = make({"name": "flow_matching"})
    batch = data.read(films[:4])
    whole = draw(passes_of([batch], 0, 1, None)[0], objective, how, 0.5, "7/small/3", "cpu")
    for rank in (0, 1):
        mine = data.read(films[rank:4:2])
        part = draw(passes_of([mine], rank, 2, None)[0], objective, how, 0.5, "7/small/3", "cpu")
        for name in ("data", "noise", "times"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2])
        assert part.dropped == whole.dropped[rank::2]
    later = draw(passes_of([batch], 0, 1, None)[0], objective, how, 0.5, "7/small/4", "cpu")
    assert not torch.equal(later.noise, whole.noise)
    assert len(part_of(batch, 1, 3).samples) == 2


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.5, 1.0, 0.8828, 0.6, 0.3172, 0.2]),
    ],
)
def test_schedules_warm_up_and_fall_to_their_final_share(name: str, rates: list[float]) -> None:
    schedule = Schedule.model_validate({"name": name, "warmup_steps": 2, "final_share": 0.2})
    recipe = StageSettings(lr=1.0, steps=6, schedule=schedule)
    assert [rate(recipe, step) for step in range(1, 7)] == pytest.approx(rates, abs=1e-4)


def test_an_average_follows_its_weights_and_a_swap_is_undone_bit_for_bit() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    ema = Ema({"w": weight}, 0.9)
    with torch.no_grad():
        weight += 1.0
    ema.update(1)
    assert ema.averages["w"].tolist() == pytest.approx([0.9] * 3)  # early: 1/10 of the average, not 9/10
    ema.update(10**6)
    assert ema.averages["w"].tolist() == pytest.approx([0.91] * 3)
    average = ema.averages["w"].clone()
    with ema.swapped():
        assert torch.equal(weight, average)
    assert weight.tolist() == [1.0] * 3
    assert torch.equal(ema.averages["w"], average)


def test_keys_and_values_that_are_not_known_are_named_with_what_is(
    training_set: dict[str, Any], tmp_path: Path
) -> None:
    asked = manifest(training_set, tmp_path, batch_size={"a": 0}, precision="fp8", mix={"a": -1})
    asked["recipe"]["optimizer"]["beta"] = 1
    asked["runtime"]["keep_last"] = 0
    with pytest.raises(ManifestError) as error:
        check_train(asked)
    for words in (
        "recipe.batch_size.a is 0; it must be a whole number of at least 1",
        "recipe.precision is 'fp8'; it must be fp32 or bf16 or fp16",
        "recipe.mix.a is -1; it must be a number above 0",
        "recipe.optimizer.beta is not known; did you mean betas?",
        "runtime.keep_last is 0; it must be a whole number of at least 1",
    ):
        assert words in str(error.value)
    with pytest.raises(ManifestError, match="adamw_8bit works in blocks"):
        check_train(
            manifest(training_set, tmp_path, optimizer={"name": "adamw_8bit", **ADAMW}, engine="fsdp2", processes=2)
        )


def test_the_runtime_is_no_part_of_what_makes_a_run_the_same(training_set: dict[str, Any], tmp_path: Path) -> None:
    one = manifest(training_set, tmp_path)
    other = manifest(training_set, tmp_path / "other", processes=4, engine="fsdp2", micro_batch=1, activation="block")
    assert identity(one) == identity(other)
    assert identity(one) != identity(manifest(training_set, tmp_path, precision="bf16"))
