"""The training loop: from a manifest to a checkpoint, the same one however often it was interrupted.

Everything random in a step comes from a generator seeded with (seed, stage, step), and the order of samples from
their hashes, so a step folder needs no random state and a resumed run repeats the undisturbed one bit for bit on the
same machine, device and thread count.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model import checkpoint, denoiser
from model.data import Batch, TrainingSet
from model.errors import ModelError
from model.loader import Loader
from model.manifest import TRAIN_CODE_VERSION, difference, identity
from model.objective import FlowMatching
from model.reporting import Reporter, curve
from model.vae import pick_device, sample_and_normalise
from model.vae_folder import Normalisation
from model.weights import checkpoint_hash

_KEEP = 2


class TrainingError(ModelError):
    """Training cannot start or go on; the message says why."""


class Stopped(Exception):  # noqa: N818 - not an error: the run was asked to stop, and its state is saved
    """The run was asked to stop and did, after a whole step, with its state on the disk."""


def train(manifest: dict[str, Any], report: Reporter, stop_reason: Callable[[], str | None]) -> dict[str, Any]:
    """Train to `recipe.steps`, from the newest whole step folder of `output` where there is one.

    Args:
        manifest: checked by `manifest.check_train`.
        report: told of progress, checkpoints and the end.
        stop_reason: asked between steps; a text means: save and stop.

    Returns:
        The summary that `report.finished` was given: steps, losses (at most 500 points), final_loss, weights_hash,
        folder, parameters, samples by kind and by bucket, read_through_lance (why latents were not read from a memory
        map, None where they were), resumed_from, seconds, steps_per_second.

    Raises:
        Stopped: asked to stop; the state is saved.
        ModelError: the manifest, the data or the folder cannot be used, or the loss is not finite.
    """
    output = Path(manifest["output"])
    output.mkdir(parents=True, exist_ok=True)
    with checkpoint.exclusive(output):
        checkpoint.clean(output)
        if (output / "final").exists():
            summary = _finished_before(manifest, output / "final")
        else:
            run = _Run(manifest, report, stop_reason)
            with run.loader:
                summary = run.to_the_end()
    with contextlib.suppress(BrokenPipeError):  # the checkpoint is there, whether or not anybody hears of it
        report.finished(summary)
    return summary


class _Run:
    """One run in one process: model, averages, optimiser, order of samples, and the position in them."""

    def __init__(self, manifest: dict[str, Any], report: Reporter, stop_reason: Callable[[], str | None]) -> None:
        self.manifest, self.recipe, self.report, self.stop_reason = manifest, manifest["recipe"], report, stop_reason
        self.output = Path(manifest["output"])
        self.identity = identity(manifest)
        self.normalisation = Normalisation.read(manifest["vae"]["normalisation"])
        if manifest["runtime"]["threads"]:
            torch.set_num_threads(manifest["runtime"]["threads"])
        self.device = pick_device(manifest["runtime"]["device"])
        self.step = 0
        self.losses: list[float] = []
        self.resumed_from: int | None = None
        self._unheard: str | None = None

        # what can be wrong with the request is found out here, before the first step
        newest = checkpoint.latest(self.output)
        if newest:
            _refuse_other_run(self.identity, checkpoint.read_state(newest)["identity"], newest)
        self.data = TrainingSet(manifest["training_set"], self.normalisation.channels)
        order = self.data.order(
            self.recipe["image_share"], self.recipe["batch_size"], self.recipe["seed"], self.recipe["share_unit"]
        )
        pin = self.device.startswith("cuda")
        self.loader = Loader(self.data, order, workers=manifest["runtime"]["workers"], pin=pin)
        objective = self.recipe["objective"]
        self.objective = FlowMatching(objective["shift"], objective["time_sampling"])
        self.model = self._initial_model().to(self.device).train()
        self._check_fit(self.normalisation.channels)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe["lr"], weight_decay=self.recipe["weight_decay"]
        )
        if newest:
            self._load(newest)

    def to_the_end(self) -> dict[str, Any]:
        """Train the steps that are left and write `final`."""
        began, last_report, first_step = time.monotonic(), 0.0, self.step
        total, every = self.recipe["steps"], self.manifest["runtime"]["checkpoint_every"]
        saved = self.step
        while self.step < total:
            reason = self.stop_reason() or self._unheard
            if reason:
                if self.step > saved:
                    self._save(tell=False)  # whoever asked to stop may no longer listen
                raise Stopped(f"stopped after step {self.step} of {total}: {reason}")
            metrics = self._train_step()
            now = time.monotonic()
            if now - last_report >= 1.0 or self.step == total:
                last_report = now
                metrics["steps_per_second"] = (self.step - first_step) / (now - began)
                self._tell(partial(self.report.progress, self.step, total, metrics))
            if self.step % every == 0 and self.step < total:
                self._save()
                saved = self.step
        return self._save_final(time.monotonic() - began, self.step - first_step)

    def _tell(self, message: Callable[[], None]) -> None:
        """Report; where nobody listens any more, which is how a dead parent is often noticed first, stop in order."""
        try:
            message()
        except BrokenPipeError:
            self._unheard = "nobody reads the reports any more"

    def _train_step(self) -> dict[str, float]:
        generator = self._generator(self.step)
        batches = next(self.loader)
        lr = self.recipe["lr"] * min(1.0, (self.step + 1) / max(1, self.recipe["warmup_steps"]))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        parts = []
        for batch in batches:  # one bucket after the other: gradients add up to those of the mean over all samples
            part = self._losses(batch, generator).sum() / self.recipe["batch_size"]
            part.backward()
            parts.append(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["grad_clip"])
        value, norm_value = float(torch.stack(parts).sum()), float(norm)
        if not math.isfinite(value) or not math.isfinite(norm_value):
            raise TrainingError(
                f"step {self.step + 1} (bucket {' and '.join(batch.samples[0].bucket for batch in batches)}): "
                f"loss {value}, gradient norm {norm_value}: not finite. Nothing was saved since the last checkpoint; "
                f"try a lower lr ({self.recipe['lr']:g}) or grad_clip ({self.recipe['grad_clip']:g})"
            )
        self.optimizer.step()
        self._update_ema()
        self.step += 1
        self.losses.append(value)
        return {"loss": value, "lr": lr, "grad_norm": norm_value}

    def _losses(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """Loss of each sample of a batch, (B,)."""
        latents = batch.latents.to(self.device, non_blocking=True)
        data = sample_and_normalise(latents, self.normalisation, generator)
        times = self.objective.sample_times(len(data), generator)
        noise = torch.randn(data.shape, generator=generator)
        dropped = torch.rand(len(data), generator=generator) < self.recipe["caption_dropout"]
        texts = [None if drop else text for text, drop in zip(batch.texts, dropped.tolist(), strict=True)]
        return self.objective.loss(
            lambda noisy, at: denoiser.predict(self.model, noisy, at, texts),
            data,
            noise.to(self.device),
            times.to(self.device),
        )

    @torch.no_grad()
    def _update_ema(self) -> None:
        # Early averages follow the weights more closely, or they would keep the random initialisation for long.
        decay = min(self.recipe["ema_decay"], (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)

    def _generator(self, step: int) -> torch.Generator:
        text = f"{self.recipe['seed']}/{self.manifest['stage']}/{step}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(seed)  # on the CPU, so that a GPU sees the same noise

    def _initial_model(self) -> Any:
        parent = self.manifest.get("parent")
        if parent is None:
            return denoiser.build(self.recipe["model"], self.recipe["seed"])
        found = checkpoint_hash(parent["folder"])
        if found != parent["weights_hash"]:
            raise TrainingError(
                f"the checkpoint to start from, {parent['folder']}, has the weights hash {found[:12]}..., but the "
                f"manifest expects {parent['weights_hash'][:12]}...: it was changed or replaced"
            )
        return denoiser.load(Path(parent["folder"]) / {"ema": "ema", "raw": "denoiser"}[parent["weights"]])

    def _check_fit(self, channels: int) -> None:
        config, dim = self.model.config, self.data.text_dim
        if config.in_channels != channels:
            raise TrainingError(
                f"{self.recipe['model']} takes latents of {config.in_channels} channels, but "
                f"{self.manifest['vae']['family']} has {channels}"
            )
        if dim is not None and dim != config.text_dim:
            raise TrainingError(f"{self.recipe['model']} reads text states of {config.text_dim}, these have {dim}")

    def _save(self, tell: bool = True) -> None:
        folder = checkpoint.step_folder(self.output, self.step)
        state = {
            "identity": self.identity,
            "step": self.step,
            "order": self.loader.state_dict(),
            "losses": self.losses,
        }
        checkpoint.save_state(folder, checkpoint.pack(self.model, self.ema, self.optimizer), state)
        checkpoint.keep_newest(self.output, _KEEP)
        if tell:
            self._tell(partial(self.report.checkpoint, str(folder), self.step))

    def _load(self, folder: Path) -> None:
        tensors, state = checkpoint.load_state(folder)
        checkpoint.unpack(tensors, self.model, self.ema, self.optimizer)
        self.loader.load_state_dict(state["order"])
        self.step, self.losses, self.resumed_from = state["step"], state["losses"], state["step"]

    def _save_final(self, seconds: float, steps: int) -> dict[str, Any]:
        manifest, final = self.manifest, self.output / "final"
        samples = {"image": 0, "video": 0}
        for bucket, count in self.loader.used.items():
            samples[self.loader.kinds[bucket]] += count
        with checkpoint.atomic_folder(final) as folder:
            self.model.save_pretrained(str(folder / "denoiser"))
            self.ema.save_pretrained(str(folder / "ema"))
            tail = self.losses[-max(1, len(self.losses) // 10) :]
            summary = {
                "steps": self.step,
                "losses": curve(self.losses),
                "final_loss": sum(tail) / len(tail),
                "weights_hash": checkpoint_hash(folder),
                "folder": str(final),
                "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
                "samples": samples,
                "samples_by_bucket": self.loader.used,
                "read_through_lance": self.data.latents.fallback,
                "resumed_from": self.resumed_from,
                "seconds": seconds,
                "steps_per_second": steps / seconds if seconds else None,
                "device": self.device,
            }
            record = {
                "identity": self.identity,
                "experiment": manifest["experiment"],
                "stage": manifest["stage"],
                "recipe": self.recipe,
                "code_version": manifest["code_version"],
                "train_code_version": TRAIN_CODE_VERSION,
                "training_set_digest": manifest["training_set"]["digest"],
                "latents_version": manifest["training_set"]["latents_version"],
                "vae_weights_hash": manifest["vae"]["weights_hash"],
                "parent": manifest.get("parent"),
                "weights_hash": summary["weights_hash"],
                "summary": summary,
            }
            checkpoint.write_json(folder / "checkpoint.json", record)
            checkpoint.write_json(folder / "losses.json", self.losses)
        self._tell(partial(self.report.checkpoint, str(final), self.step))
        return summary


def _finished_before(manifest: dict[str, Any], final: Path) -> dict[str, Any]:
    record = json.loads((final / "checkpoint.json").read_text(encoding="utf-8"))
    _refuse_other_run(identity(manifest), record["identity"], final)
    return {**record["summary"], "folder": str(final)}


def _refuse_other_run(now: dict[str, Any], before: dict[str, Any], folder: Path) -> None:
    lines = difference(now, before)
    if lines:
        raise TrainingError(
            f"{folder} is of another run than the one asked for; use another output, or remove it. It differs in:\n"
            + "\n".join(f"  {line}" for line in lines)
        )
