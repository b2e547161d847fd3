"""The memory plan of a training stage: what each policy of activation checkpointing takes, and the one that is chosen.

Plans are kept in a folder, `plans` of the home's local one, named by a hash of all that they depend on: one that was
made before is read without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.data.order import most
from model.denoisers import PRESETS
from model.memory.case import GIB, PLAN_CODE_VERSION, Case, Usage, choose, latent_shape
from model.training.launch import count_of
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.encoding.settings import Bucket
from vid_assets.store.memo import recall, remember
from vid_assets.views.markdown import table

if TYPE_CHECKING:
    from model.memory.options import DoesNotFitError


_UNITS = {"GiB": GIB, "MiB": 2**20}


@dataclass(frozen=True)
class MemoryPlan:
    """What one pass takes under each policy, and which policy is taken.

    Attributes:
        bucket: what is planned, as in the configuration.
        case: the pass.
        usages: of each policy, the one that recomputes least first.
        budget: bytes of one device; None: not declared.
        chosen: the name of the policy of the run; None: none fits the budget.
    """

    bucket: str
    case: Case
    usages: list[Usage]
    budget: int | None
    chosen: str | None

    @property
    def usage(self) -> Usage | None:
        """Of the chosen policy."""
        return next((one for one in self.usages if one.name == self.chosen), None)

    @property
    def fits(self) -> bool | None:
        """Whether the chosen policy fits the budget; None: no budget is declared."""
        if self.budget is None:
            return None
        return self.usage is not None and self.usage.peak <= self.budget

    def as_dict(self) -> dict[str, Any]:
        """For JSON: bytes throughout."""
        return {
            "bucket": self.bucket,
            "case": self.case.as_dict(),
            "budget": self.budget,
            "chosen": self.chosen,
            "fits": self.fits,
            "policies": [asdict(usage) for usage in self.usages],
        }

    def rows(self) -> list[dict[str, str]]:
        """The table for people, in `unit`; the chosen policy is marked."""

        def size(value: int) -> str:
            return f"{value / _UNITS[self.unit]:.4g}"

        return [
            {
                "policy": one.name + (" *" if one.name == self.chosen else ""),
                "weights": size(one.weights),
                "gradients": size(one.gradients),
                "optimizer": size(one.optimizer),
                "averages": size(one.averages),
                "saved activations": size(one.saved),
                "peak of the pass": size(one.backward),
                "peak in all": size(one.peak),
                "recomputed": f"{one.recompute_share:.0%}",
            }
            for one in self.usages
        ]

    def markdown(self) -> str:
        """`rows` as a table, with what is planned above it."""
        rows = self.rows()
        return f"{self.headline}\n\n{table(list(rows[0]), [list(row.values()) for row in rows])}"

    @property
    def unit(self) -> str:
        """`GiB`, or `MiB` for small models."""
        return "GiB" if max(one.peak - one.reserve for one in self.usages) >= GIB else "MiB"

    @property
    def headline(self) -> str:
        """What is planned, in a sentence."""
        shape = "x".join(map(str, self.case.shape))
        budget = "no memory declared" if self.budget is None else f"{self.budget / GIB:g} GiB declared"
        return (
            f"{self.case.preset}, bucket {self.bucket}: {self.case.samples} x {shape} latents in a pass, "
            f"{self.case.precision} on {self.case.device}; {self.unit}, predicted; {budget}"
        )


@dataclass(frozen=True)
class Setup:
    """What the memory of a training stage depends on, as the configuration says it.

    Attributes:
        budget: bytes of one device that a run may take; None: not declared.
        text_tokens: of the longest caption.
    """

    preset: str
    buckets: tuple[Bucket, ...]
    batch_sizes: Mapping[str, int]
    micro_batch: int | Mapping[str, int] | None
    image_share: float
    share_unit: str
    activation: str | dict[str, bool]
    image_conditioning: str
    precision: str
    optimizer: str
    lora: dict[str, Any] | None
    device: str
    processes: int | None
    engine: str
    budget: int | None
    text_tokens: int

    @classmethod
    def of(cls, config: Config, stage: str, experiment: str) -> Setup:
        """That of a stage and an experiment of the configuration."""
        section, recipe, train = config.stage(stage), config.experiments[experiment], config.train
        return cls(
            recipe.model,
            section.parsed_buckets,
            section.batch_sizes,
            section.micro_batch,
            section.image_share,
            section.share_unit,
            section.activation,
            recipe.conditioning,
            recipe.precision,
            recipe.optimizer.name,
            recipe.settings["lora"],
            train.device,
            train.processes,
            train.engine,
            None if train.memory_gb is None else int(train.memory_gb * GIB),
            config.text_encoder.max_tokens if config.text_encoder else 1,
        )


def plan_for(folder: Path, setup: Setup) -> MemoryPlan:
    """The plan of a stage's largest pass; `folder` keeps plans that were made before."""
    (bucket, case), *_ = planned(setup)
    return make(folder, bucket, case, setup.budget, setup.activation)


def policy_for(folder: Path, setup: Setup) -> str | dict[str, bool]:
    """The activation policy of a run: the stage's own; for `auto`, the cheapest that fits the declared memory.

    Raises:
        DoesNotFitError: none fits; the message names what would.
    """
    wanted = setup.activation
    if wanted != "auto":
        return wanted
    if setup.budget is None:
        return "none"
    found = plan_for(folder, setup)
    if found.chosen is None:
        raise refusal(found)
    return found.chosen


def refusal(plan: MemoryPlan) -> DoesNotFitError:
    """The error for a plan of which no policy fits, with what would."""
    from model.memory.options import refusal as refuse

    assert plan.budget is not None
    return refuse(plan.case, plan.usages, plan.budget)


def planned(setup: Setup, every: bool = False) -> list[tuple[str, Case]]:
    """(bucket, its largest pass in one process): of the bucket with the largest pass, or of every one, largest first.

    Memory grows with the latent positions of a pass, so that the largest pass decides what a stage takes.
    """
    found = sorted(_cases(setup), key=lambda one: -one[1].positions)
    return found if every else found[:1]


def _cases(setup: Setup) -> list[tuple[str, Case]]:
    device = _device(setup.device)
    processes = count_of(setup.processes, setup.device)
    found = []
    for bucket in setup.buckets:
        batch = setup.batch_sizes.get(bucket.name) or max(setup.batch_sizes.values())
        drawn = most(batch, bucket.kind, setup.image_share, setup.share_unit)
        whole = -(-drawn // processes)
        limit = setup.micro_batch.get(bucket.name) if isinstance(setup.micro_batch, Mapping) else setup.micro_batch
        samples = min(whole, limit or whole)
        case = Case(
            preset=setup.preset,
            shape=latent_shape(setup.preset, bucket.frames, bucket.height, bucket.width),
            samples=samples,
            text_tokens=setup.text_tokens,
            image_conditioning=setup.image_conditioning,
            precision=setup.precision,
            optimizer=setup.optimizer,
            lora=setup.lora,
            device=device,
            # Gradients are there before a pass if it is not a step's only one; DDP keeps room for them always
            accumulates=samples < whole or len(setup.buckets) > 1 or (processes > 1 and setup.engine == "ddp"),
            shards=processes if processes > 1 and setup.engine == "fsdp2" else 1,
        )
        found.append((bucket.name, case))
    return found


def make(
    folder: Path, bucket: str, case: Case, budget: int | None, wanted: str | dict[str, bool] = "auto"
) -> MemoryPlan:
    """A plan, from the folder of plans where it was made before.

    Args:
        folder: of plans.
        bucket: how the plan is called.
        budget: bytes of one device.
        wanted: the policy of the run; `auto`: the cheapest that fits, or none where no budget is declared.
    """
    own = [wanted] if isinstance(wanted, dict) else []
    usages = _usages(folder, case, own)
    if wanted == "auto":
        picked = None if budget is None else choose(usages, budget)
        chosen = "none" if budget is None else picked.name if picked else None
    else:
        chosen = wanted if isinstance(wanted, str) else usages[-1].name
    return MemoryPlan(bucket, case, sorted(usages, key=lambda one: one.recompute_share), budget, chosen)


def _usages(folder: Path, case: Case, own: Sequence[dict[str, bool]]) -> list[Usage]:
    """The usages of all policies, and last of the stage's own choice of layers where it has one."""
    found = [Usage(**one) for one in _kept(folder, case, None)]
    for policy in own:
        found += [Usage(**one) for one in _kept(folder, case, policy)]
    return found


def _kept(folder: Path, case: Case, policy: dict[str, bool] | None) -> list[dict[str, Any]]:
    parts = [case.as_dict(), PLAN_CODE_VERSION, version("torch"), version("diffusers"), policy]
    path = folder / f"{digest(json.loads(json.dumps(parts)))[:24]}.json"
    kept = recall(path)
    if kept is None:
        from model.memory.plan import plan

        kept = [asdict(one) for one in plan(case, None if policy is None else (policy,))]
        remember(path, kept)
    return kept


def case_of(preset: str, bucket: str, **settings: Any) -> tuple[str, Case]:
    """A bucket without a project, such as `72x576x1024`, and the pass that it comes to.

    Raises:
        ValueError: an unknown preset, or a bucket that its latent space does not take.
    """
    if preset not in PRESETS:
        raise ValueError(f"{preset!r} is no model preset; known are {', '.join(sorted(PRESETS))}")
    shape = Bucket.parse(bucket if "@" in bucket or bucket.startswith("1x") else f"{bucket}@1")
    return bucket, Case(preset, latent_shape(preset, shape.frames, shape.height, shape.width), **settings)


def _device(name: str) -> str:
    if name != "auto":
        return name
    from model.compute.numerics import pick_device

    return pick_device(name)
