"""What a training step costs beside a bare loop: `python -m benchmarks.train`.

The trainer runs as it always does. Between two of its steps, every 20 steps, a bare loop of the same model trains 20
steps on the same batches, which lie in memory as tensors: noise, forward, loss, backward, clipping, optimiser and
average, and nothing else. So both meet the same state of the machine, and each pair of blocks gives one ratio. Printed
are the medians, the median of the ratios with its 95 % interval (of order statistics, without an assumption), and the
share of the trainer's step time that it spent waiting for data.

With `--home` the training set of a home (VID_ASSETS_HOME and VID_ASSETS_CONFIG, after `make demo`) is used; else one of
the demo's shapes, with noise in it, in the tables that the store writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, report
from model.manifest import Manifest, check_train
from model.training.reporting import Silent

BLOCK = 20
#: Latents of the demo's first stage: moments of a still and of a clip, and how many.
SHAPES = {"1x64x96": ((32, 1, 8, 12), 60), "9x64x96@8": ((32, 3, 8, 12), 60)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=15, help="pairs of blocks of 20 steps (default 15)")
    parser.add_argument("--home", action="store_true", help="the latents of the home that the environment names")
    parser.add_argument("--stage", default="short", help="with --home: which stage (default short)")
    parser.add_argument("--experiment", default="tiny", help="with --home: which experiment (default tiny)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = _from_home(options.stage, options.experiment) if options.home else _made(Path(folder))
        report(list(compare(asked, Path(folder), options.blocks, options.threads)), options.json)


def compare(asked: dict[str, Any], folder: Path, blocks: int, threads: int) -> Iterator[Result]:
    """Train `blocks` blocks by the trainer and as many by a bare loop, in turns."""
    from model.training.trainer import train

    asked["output"] = str(folder / "run")
    asked["recipe"] |= {"steps": BLOCK * (blocks + 1) + 1}
    asked["runtime"] |= {"threads": threads, "processes": 1, "validate_every": None, "checkpoint_every": 10**9}
    asked["runtime"] |= {"dry_run": False, "tensorboard": False, "device": "cpu"}
    manifest = check_train(asked)
    bare = bare_loop(manifest)
    ours: list[float] = []
    others: list[float] = []
    began, step = 0.0, 0

    def between_steps() -> None:
        """Called by the trainer before each step: at the end of a block, time it, and let the bare loop run one."""
        nonlocal began, step
        if step % BLOCK == 0:
            if step > BLOCK:  # the first block warms both up
                ours.append((time.perf_counter() - began) / BLOCK)
            seconds = bare(BLOCK)
            if step > BLOCK:
                others.append(seconds / BLOCK)
            began = time.perf_counter()
        step += 1

    summary = train(manifest, Silent(), between_steps)
    ratios = sorted(mine / other for mine, other in zip(ours, others, strict=True))
    low, high = interval(ratios)
    words = f"step of {asked['recipe']['model']}: {statistics.median(ratios):.3f} (95 %: {low:.3f} to {high:.3f}) times"
    yield Result(
        "train", words, statistics.median(ours), statistics.median(others), "bare loop, tensors in memory", "s", blocks
    )
    waited = 100 * summary["data_wait_share"]
    yield Result("train", "step time spent waiting for data", waited, 2.0, "allowed", "%", summary["steps"])


def bare_loop(manifest: Manifest) -> Callable[[int], float]:
    """The same model on tensors in memory; called with a number of steps, it returns the seconds that they took."""
    import torch

    from model import denoisers
    from model.data.loader import Loader
    from model.data.training_set import TrainingSet
    from model.denoisers import models
    from model.objectives import make
    from model.training.optimizers import make_optimizer
    from model.vaes.backend import sample_and_normalise

    recipe, how = manifest.recipe, manifest.vae.normalisation
    data = TrainingSet(manifest.training_set, how.channels)
    order = data.order(recipe.image_share, recipe.batch_size, recipe.seed, recipe.share_unit, recipe.mix)
    kind, objective = denoisers.family(recipe.family), make(recipe.objective)
    model = models.build(recipe.model, recipe.seed, recipe.image_conditioning)
    weights = dict(model.named_parameters())
    averages = [weight.detach().clone() for weight in weights.values()]
    optimizer = make_optimizer(recipe.optimizer, weights, recipe.lr)
    batches = []
    with Loader(data, order, ahead=0) as loader:
        for parts in islice(loader, recipe.steps):
            latents = [sample_and_normalise(part.latents, how) for part in parts]
            given = [
                models.conditions(part, recipe.model, "cpu", data=latent, image_conditioning=recipe.image_conditioning)
                for part, latent in zip(parts, latents, strict=True)
            ]
            batches.append(list(zip(latents, given, strict=True)))
    position, generator = 0, torch.Generator().manual_seed(0)

    def one_step() -> None:
        nonlocal position
        parts = batches[position % len(batches)]
        position += 1
        optimizer.zero_grad(set_to_none=True)
        count = sum(len(latent) for latent, _ in parts)
        for latent, given in parts:
            noise = torch.randn(latent.shape, generator=generator)
            times = objective.sample_times(len(latent), generator, latent[0, 0].numel())
            losses = objective.loss(
                lambda noisy, at, given=given: kind.predict(model, noisy, at, given), latent, noise, times
            )
            (losses.sum() / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        optimizer.step()
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights.values()], 1 - recipe.ema_decay)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            one_step()
        return time.perf_counter() - started

    return run


def interval(ordered: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, from ordered values: binomial, the whole range where they are few."""
    count = len(ordered)
    below = 0.0
    for rank in range(count):
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            return ordered[max(0, rank - 1)], ordered[min(count - 1, count - rank)]
    raise ValueError("no values")


def _from_home(stage: str, experiment: str) -> dict[str, Any]:
    from vid_assets.assets import work_of
    from vid_assets.assets.train.manifest import manifest
    from vid_assets.assets.train.names import CHECKPOINT
    from vid_assets.project import Project

    asked = manifest(work_of(Project.from_environment(), f"{CHECKPOINT}/{stage}", experiment))
    return {**asked, "parent": None}


def _made(folder: Path) -> dict[str, Any]:
    """A training manifest, and the tables that it names: noise of the demo's shapes, and captions."""
    from model.denoisers import preset
    from vid_assets.store.schemas import table_spec
    from vid_assets.store.tables import Store, to_arrow

    store, rng = Store(str(folder / "home")), np.random.default_rng(0)
    rows, members, texts = [], [], []
    for bucket, (shape, count) in SHAPES.items():
        for _ in range(count):
            latent = rng.standard_normal(shape, np.float32).astype(np.float16).tobytes()
            name, key = f"s{len(rows):03d}", f"k{len(rows) % 16}"
            stored = {"dtype": "float16", "shape": list(shape), "status": "ok", "latent": latent}
            rows.append({"sample_id": name, "checksum": hashlib.sha256(latent).hexdigest(), **stored})
            kind = "image" if bucket.startswith("1x") else "video"
            whose = {"caption_key": key, "embedding_key": key, "split": "train", "bucket": bucket, "kind": kind}
            members.append({"member_id": f"d/{name}", "digest": "d", "sample_id": name, **whose})
    for number in range(16):
        states = rng.standard_normal((20 + number, 64), np.float32)
        facts = {"kind": "text", "tokens": len(states), "dim": 64, "dtype": "float32", "status": "ok"}
        texts.append({"key": f"k{number}", "embedding": states.tobytes(), **facts})
    store.table("latents").add(to_arrow(rows, table_spec("latents")))
    store.insert_absent("training_set_members", members)
    store.insert_absent("embeddings", texts)
    spec: dict[str, Any] = {"digest": "d"}
    for key, table in (("latents", "latents"), ("members", "training_set_members"), ("embeddings", "embeddings")):
        spec |= {f"{key}_uri": store.table_uri(table), f"{key}_version": store.version(table)}
    manifest = json.loads((Path(__file__).parent / "train_manifest.json").read_text(encoding="utf-8"))
    manifest["training_set"] = spec
    manifest["recipe"]["objective"] = preset(manifest["recipe"]["model"]).objective.model_dump()
    return manifest


if __name__ == "__main__":
    main()
