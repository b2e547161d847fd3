"""The training loop: from a manifest to a checkpoint, the same one however often it was interrupted.

Everything random in a step comes from generators seeded with (seed, stage, step, place in the batch), and the order of
samples from their hashes, so a step folder needs no random state and a resumed run repeats the undisturbed one bit for
bit on the same machine, device, thread count and number of processes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.compute.numerics import pick_device
from model.compute.ranks import Ranks
from model.data.loader import Loader
from model.data.training_set import TrainingSet
from model.errors import ModelError
from model.evaluation.heldout import heldout_loss
from model.manifest import Manifest, identity
from model.memory import activation
from model.objectives import make
from model.training.dry_run import dry_run
from model.training.ema import Ema
from model.training.finish import finished_before, save_final
from model.training.optimizers import make_optimizer, rate, set_rate, state_bytes
from model.training.parallel import Shared, Stopped, device_of, joined
from model.training.reporting import Clock, Curves, Reporter, Silent, peak_memory
from model.training.run_state import load_step, refuse_other_run, save_step
from model.training.start import check_fit, initial_model
from model.training.step import Gradient


class TrainingError(ModelError):
    """Training cannot start or go on; the message says why."""


def train(manifest: Manifest, report: Reporter, stop_reason: Callable[[], str | None]) -> dict[str, Any]:
    """Train to `recipe.steps`, from the newest whole step folder of `output` where there is one.

    Each of several processes calls this (see `model.training.launch`); the first one writes and reports.

    Args:
        manifest: what to train, and how.
        report: told of progress, checkpoints and the end.
        stop_reason: asked between steps; a text, in any process, means: save and stop.

    Returns:
        The summary that `report.finished` was given, see `model.training.finish.save_final`.

    Raises:
        Stopped: asked to stop; the state is saved.
        ModelError: the manifest, the data or the folder cannot be used, or a loss is not finite.
    """
    output = Path(manifest.output)
    output.mkdir(parents=True, exist_ok=True)
    with joined() as ranks, torch.random.fork_rng(devices=[]):
        with checkpoint.exclusive(output) if ranks.first else contextlib.nullcontext():
            if ranks.first:
                checkpoint.clean(output)
            if ranks.of_first((output / "final").exists()):
                summary = finished_before(manifest, output / "final")
            else:
                run = _Run(manifest, ranks, report if ranks.first else Silent(), stop_reason)
                with run.loader, contextlib.closing(run.curves):
                    summary = run.to_the_end()
        if ranks.first:
            with contextlib.suppress(BrokenPipeError):  # the checkpoint is there, whether or not anybody hears of it
                report.finished(summary)
    return summary


class _Run:
    """One run in one process: model, averages, optimiser, order of samples, and the position in them."""

    def __init__(
        self, manifest: Manifest, ranks: Ranks, report: Reporter, stop_reason: Callable[[], str | None]
    ) -> None:
        self.manifest, self.recipe, self.runtime = manifest, manifest.recipe, manifest.runtime
        self.ranks, self.report, self.stop_reason = ranks, report, stop_reason
        self.output = Path(manifest.output)
        self.identity = identity(manifest.document())
        if self.runtime.threads:
            torch.set_num_threads(self.runtime.threads)
        self.device = device_of(pick_device(self.runtime.device), ranks)
        self.normalisation = manifest.vae.normalisation
        self.step = self.saved = 0
        self.resumed_from: int | None = None
        self.heldout: dict[str, Any] = {"start": None, "final": None, "best": None}
        self.clock = Clock()
        self._unheard: str | None = None

        # what can be wrong with the request is found out here, before the first step
        newest = ranks.of_first(checkpoint.latest(self.output))
        if newest:
            refuse_other_run(self.identity, checkpoint.read_state(newest)["identity"], newest)
        self.data = TrainingSet(manifest.training_set, self.normalisation.channels)
        recipe = self.recipe
        order = self.data.order(recipe.image_share, recipe.batch_size, recipe.seed, recipe.share_unit, recipe.mix)
        self.loader = Loader(
            self.data,
            order,
            rank=ranks.rank,
            world_size=ranks.size,
            workers=self.runtime.workers,
            pin=self.device.startswith("cuda"),
        )
        model = initial_model(manifest)
        check_fit(manifest, model, self.data, self.normalisation.channels)
        self.coverage = activation.apply(model, self.runtime.activation)
        self.shared = Shared(model.to(self.device).train(), self.runtime.engine, ranks)
        self.weights = self.shared.trainable()
        self.ema = Ema(self.weights, self.recipe.ema_decay)
        self.optimizer = make_optimizer(self.recipe.optimizer, self.weights, self.recipe.lr)
        self.scaler = torch.amp.GradScaler(torch.device(self.device).type, enabled=self.recipe.precision == "fp16")
        self.gradient = Gradient(manifest, self.shared, ranks, self.device)
        written = self.runtime.tensorboard and ranks.first
        self.curves = Curves(self.output / "tensorboard" if written else None)
        state = self._load(newest) if newest else {}
        if self.runtime.dry_run:
            self._try_passes(order)
        self.curves.begin(state.get("curves", {}), self.step)

    def to_the_end(self) -> dict[str, Any]:
        """Train the steps that are left and write `final`."""
        last_report, total = 0.0, self.recipe.steps
        if self.heldout["start"] is None:
            self.heldout["start"] = self._validate()
        while self.step < total:
            reason = self._asked_to_stop()
            if reason:
                if self.step > self.saved:
                    self._save(tell=False)  # whoever asked to stop may no longer listen
                raise Stopped(f"stopped after step {self.step} of {total}: {reason}")
            metrics: dict[str, float | None] = self._train_step()
            best = False
            if self._due(self.runtime.validate_every) or self.step == total:
                metrics["heldout_loss"] = self.heldout["final"] = self._validate()
                best = self._note_best(metrics["heldout_loss"])
            now = time.monotonic()
            if now - last_report >= 1.0 or self.step == total:
                last_report = now
                self._tell_progress(metrics, total)
            if (best or self._due(self.runtime.checkpoint_every)) and self.step < total:
                self._save()
        return self._finish()

    def _train_step(self) -> dict[str, float | None]:
        began = time.monotonic()
        batches = next(self.loader)
        waited = time.monotonic() - began
        lr = rate(self.recipe, self.step + 1)
        set_rate(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.gradient.add(batches, self.step, self.scaler)
        self.scaler.unscale_(self.optimizer)
        norm = self.shared.clip(self.recipe.grad_clip)
        scale = self.scaler.get_scale()
        if not math.isfinite(loss) or not (math.isfinite(norm) or scale > 1):
            raise TrainingError(
                f"step {self.step + 1} (bucket {' and '.join(batch.samples[0].bucket for batch in batches)}): "
                f"loss {loss}, gradient norm {norm}: not finite. Nothing was saved since the last checkpoint; "
                f"try a lower lr ({self.recipe.lr:g}) or grad_clip ({self.recipe.grad_clip:g})"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        left_out = not math.isfinite(norm)  # by the scaler
        if not left_out:
            self.ema.update(self.step)
        samples = sum(len(batch.samples) for batch in batches) * self.ranks.size
        self.clock.step(time.monotonic() - began, waited, samples)
        metrics = {"loss": loss, "lr": lr, "grad_norm": None if left_out else norm}
        self.curves.add(self.step, **metrics)
        return metrics

    def _validate(self) -> float | None:
        """The loss of the averages on the held-out samples; None where there are none."""
        with self.ema.swapped():
            measured = heldout_loss(
                self.shared.model,
                self.recipe.model,
                make(self.recipe.objective),
                self.data,
                self.normalisation,
                self.recipe.seed,
                self.device,
                image_conditioning=self.recipe.image_conditioning,
                precision=self.recipe.precision,
                ranks=self.ranks,
            )
        loss = measured.mean
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"after step {self.step}: the held-out loss is {loss}. Nothing was saved since the last checkpoint; "
                f"try a lower lr ({self.recipe.lr:g}), or another precision ({self.recipe.precision})"
            )
        self.curves.add(self.step, heldout_loss=loss)
        return loss

    def _note_best(self, loss: float | None) -> bool:
        best = self.heldout["best"]
        if loss is None or (best is not None and best["loss"] <= loss):
            return False
        self.heldout["best"] = {"step": self.step, "loss": loss}
        return True

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _asked_to_stop(self) -> str | None:
        """Why all processes stop now, None while none was asked to."""
        reason = self.stop_reason() or self._unheard
        anyone = self.ranks.largest(reason is not None)[0]
        return (reason or "another of its processes was asked to stop") if anyone else None

    def _tell_progress(self, metrics: dict[str, float | None], total: int) -> None:
        metrics |= {**self.clock.metrics(total - self.step), "memory_bytes": peak_memory(self.device)}
        timed = ("step_seconds", "samples_per_second", "data_wait_share", "memory_bytes")
        self.curves.add(self.step, **{name: metrics[name] for name in timed})
        heard = {name: value for name, value in metrics.items() if value is not None}
        self._tell(partial(self.report.progress, self.step, total, heard))

    def _tell(self, message: Callable[[], None]) -> None:
        """Report; where nobody listens any more, which is how a dead parent is often noticed first, stop in order."""
        try:
            message()
        except BrokenPipeError:
            self._unheard = "nobody reads the reports any more"

    def _try_passes(self, order: Any) -> None:
        size = 0 if self.resumed_from else state_bytes(self.recipe.optimizer.name)
        with activation.counting(self.shared.model, self.runtime.activation) as counted:
            dry_run(self.shared, self.gradient, self.data, order, self.ranks.size, self.runtime.micro_batch, size)
        self.coverage = counted[0]

    def _save(self, tell: bool = True) -> None:
        folder = checkpoint.step_folder(self.output, self.step)
        state = {
            "identity": self.identity,
            "step": self.step,
            "order": self.loader.state_dict(),
            "curves": self.curves.points,
            "heldout": self.heldout,
            "scaler": self.scaler.state_dict(),
        }
        save_step(folder, self.ranks, self.weights, self.ema, self.optimizer, state)
        self.saved = self.step
        if self.ranks.first:
            best = self.heldout["best"]
            checkpoint.keep(self.output, self.runtime.keep_last, best and best["step"])
        if tell:
            self._tell(partial(self.report.checkpoint, str(folder), self.step))

    def _load(self, folder: Path) -> dict[str, Any]:
        state = load_step(folder, self.weights, self.ema, self.optimizer)
        self.loader.load_state_dict(state["order"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = self.saved = self.resumed_from = state["step"]
        self.heldout = state["heldout"]
        return state

    def _finish(self) -> dict[str, Any]:
        seconds = self.clock.seconds
        samples = {"image": 0, "video": 0}
        for bucket, count in self.loader.used.items():
            samples[self.loader.kinds[bucket]] += count
        facts = {
            "steps": self.step,
            "heldout": self.heldout,
            "samples": samples,
            "read_through_lance": self.data.latents.fallback,
            "resumed_from": self.resumed_from,
            "steps_per_second": self.clock.steps / seconds if seconds else None,
            "samples_per_second": self.clock.samples / seconds if seconds else None,
            "data_wait_share": self.clock.waited / seconds if seconds else None,
            "memory_bytes": peak_memory(self.device),
            "recomputed": {name: [done, every] for name, done, every in self.coverage.rows()},
            "device": self.device,
            "processes": self.ranks.size,
        }
        summary = save_final(self.manifest, self.shared, self.ema, self.ranks, facts, self.curves.points)
        self._tell(partial(self.report.checkpoint, summary["folder"], self.step))
        return summary
