"""Two processes learn what one learns, go on with what one began, and end together; what is killed can go on."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model import checkpoint
from model.data.training_set import Batch
from model.errors import ModelError
from model.training.launch import STOPPED, count_of, launch
from model.training.parallel import Stopped
from model.training.passes import as_many, passes_of
from model.training.reporting import Silent
from model.training.run_state import load_file
from model.weights import checkpoint_hash, read_json
from vid_assets_tests.unit.model.stopping import after, never
from vid_assets_tests.unit.model.tables import losses_of, manifest, opened, train

STEPS = 20
FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def runs(training_set: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one process, of two, and of one and two in turn; a quarter of four samples is images.

    So one process gets an image and a video where the other gets two videos, of one bucket.
    """
    folder = tmp_path_factory.mktemp("runs")

    def asked(name: str, **changes: Any) -> dict[str, Any]:
        return manifest(training_set, folder / name, **{"steps": STEPS, "batch_size": 4, **changes})

    adapters = {"rank": 2, "alpha": 4, "targets": None, "dropout": 0.5}
    with_adapters: dict[str, Any] = {"lora": adapters, "steps": 4, "checkpoint_every": 2, "micro_batch": 1, "lr": 1e-2}
    train(asked("one", validate_every=5), Silent(), never)
    train(asked("one, adapters", **with_adapters), Silent(), never)
    with pytest.raises(Stopped):
        train(asked("one, then ddp", steps=10), Silent(), after(5))
    plan: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (asked("ddp", checkpoint_every=100), {}),
        (asked("fsdp2", engine="fsdp2", dry_run=True, activation="block", validate_every=5, checkpoint_every=100), {}),
        (asked("fsdp2, adapters", engine="fsdp2", **with_adapters), {}),
        (asked("one, then ddp", steps=10), {}),
        (asked("fsdp2, then one", engine="fsdp2", steps=10), {"stop": 5}),
        (asked("uneven", batch_size=3), {"error": str(folder / "uneven")}),
        (asked("dies"), {"die": 3}),
        (asked("killed", validate_every=5), {"killed": True}),  # in the first process alone, the other being dead
    ]
    (folder / "plan.json").write_text(json.dumps([{"manifest": one, "how": how} for one, how in plan]))
    command = [sys.executable, "-m", "vid_assets_tests.unit.model.ranks", str(folder / "plan.json")]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ModelError) as error:
        patch.setattr("model.training.launch._GRACE_S", 120.0)  # the process that is left has a run to do
        launch(2, command, never)
    (folder / "error").write_text(str(error.value))
    train(asked("fsdp2, then one", steps=10), Silent(), never)
    return folder


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_learn_what_one_learns(runs: Path, engine: str) -> None:
    assert losses_of(runs / engine) == pytest.approx(losses_of(runs / "one"), rel=1e-5)
    ours, theirs = (load_file(str(runs / name / "final/ema" / FILE)) for name in (engine, "one"))
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5) for name in theirs)
    assert ours.keys() == theirs.keys()
    record = read_json(runs / engine / "final" / "checkpoint.json")
    assert record["summary"]["processes"] == 2
    assert record["summary"]["heldout"]["final"] == pytest.approx(
        read_json(runs / "one/final/checkpoint.json")["summary"]["heldout"]["final"], rel=1e-4
    )


def test_what_is_sharded_while_it_is_trained_is_a_usual_checkpoint(runs: Path) -> None:
    ours, theirs = (read_json(runs / name / "final/denoiser/config.json") for name in ("fsdp2", "one"))
    assert ours == theirs
    summary = read_json(runs / "fsdp2" / "final" / "checkpoint.json")["summary"]
    assert summary["recomputed"]["WanTransformerBlock"] == [4, 4]


def test_adapters_are_trained_alike_and_merged_and_nothing_else_changes(runs: Path) -> None:
    final = runs / "fsdp2, adapters" / "final"
    assert losses_of(runs / "fsdp2, adapters") == pytest.approx(losses_of(runs / "one, adapters"), rel=1e-5)
    merged, seeded = load_file(str(final / "denoiser" / FILE)), load_file(str(runs / "one/final/denoiser" / FILE))
    assert merged.keys() == seeded.keys()
    step = checkpoint.latest(runs / "one, adapters")
    assert step is not None
    assert all(".lora_" in name for name in load_file(str(step / "weights.safetensors")))
    assert (final / "ema_lora" / "pytorch_lora_weights.safetensors").is_file()
    assert read_json(final / "checkpoint.json")["summary"]["trained_parameters"] < 20_000


def test_a_run_goes_on_with_more_or_fewer_processes(runs: Path) -> None:
    for name in ("one, then ddp", "fsdp2, then one"):
        assert read_json(runs / name / "final/checkpoint.json")["summary"]["resumed_from"] == 5
        assert losses_of(runs / name) == pytest.approx(losses_of(runs / "one")[:10], rel=1e-5)


def test_a_process_that_dies_ends_the_run_and_is_named(runs: Path) -> None:
    assert (runs / "error").read_text().startswith("process 1 of 2 was killed by SIGKILL")
    assert not (runs / "dies" / "final").exists()


def test_a_run_that_was_killed_goes_on_to_the_same_result_bit_for_bit(runs: Path, training_set: dict[str, Any]) -> None:
    output = runs / "killed"
    assert not (output / "final").exists()
    (output / ".tmp-step-00000099-abc").mkdir()  # what a kill during a save leaves behind
    asked = manifest(training_set, output, steps=STEPS, batch_size=4, validate_every=5)
    assert 4 <= train(asked, Silent(), never)["resumed_from"] < STEPS
    assert losses_of(output) == losses_of(runs / "one")
    assert checkpoint_hash(output / "final") == checkpoint_hash(runs / "one" / "final")
    assert not list(output.glob(".tmp-*"))


def test_processes_that_cannot_share_a_batch_are_refused(
    runs: Path, training_set: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, count in (("auto", 2), ("cuda", 2), ("cpu", 1)):
        assert count_of(None, device) == count
    for rank in (0, 1):
        said = (runs / f"uneven.{rank}").read_text()
        assert "batches of 3 samples" in said and "multiple of 2" in said and "change the number of processes" in said


# What the launcher does, on processes that import nothing

WORKER = """
import os, signal, sys, time
rank, how = os.environ["RANK"], sys.argv[1]
if how == "fails" and rank == "1":
    print("some warning\\nerror: the disk is full", file=sys.stderr)
    sys.exit(1)
if how == "lost":
    sys.exit(76 if rank == "0" else 3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open(sys.argv[2] + rank, "w").close()
time.sleep(60)
"""


def test_the_failure_of_one_is_the_error_of_all_within_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"^the disk is full \(process 1 of 3\)$"):
        launch(3, [sys.executable, "-c", WORKER, "fails", str(tmp_path / "up")], never)
    assert time.monotonic() - began < 20
    with pytest.raises(ModelError, match="process 1 of 2 ended with exit code 3"):
        launch(2, [sys.executable, "-c", WORKER, "lost"], never)


def test_a_request_to_stop_reaches_all_of_them(tmp_path: Path) -> None:
    def reason() -> str | None:
        return "enough" if len(list(tmp_path.iterdir())) == 2 else None

    assert launch(2, [sys.executable, "-c", WORKER, "waits", str(tmp_path / "up")], reason) == STOPPED


def test_any_batch_is_computed_in_as_many_passes_by_all_processes(training_set: dict[str, Any]) -> None:
    data = opened(training_set, 16)
    stills = sorted(name for name, sample in data.samples.items() if sample.kind == "image")
    films = sorted(name for name, sample in data.samples.items() if sample.bucket.startswith("9x"))
    parts = [[data.read(stills[:1]), data.read(films[:3])], [data.read(films[:4])]]  # of one batch of eight
    passes = [passes_of(part, rank, 2, {"9x16x16@8": 2}) for rank, part in enumerate(parts)]
    assert [len(one) for one in passes] == [3, 2]
    passes = [as_many(one, 3) for one in passes]
    assert [len(one) for one in passes] == [3, 3]
    places = [place for one in passes for part in one for place in part.places]
    assert sorted(places) == list(range(8))
    halved: list[Batch] = [part.batch for part in passes[1]]
    assert torch.equal(torch.cat([batch.latents for batch in halved]), parts[1][0].latents)
    assert [sample.sample_id for batch in halved for sample in batch.samples] == films[:4]
