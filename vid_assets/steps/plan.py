"""The memory plan of a training stage: what each policy of activation checkpointing takes, and the one that is chosen.

Plans are kept below `plans` of the home's local folder, named by a hash of all that they depend on: one that was made
before is read without torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from model.memory.case import GIB, PLAN_CODE_VERSION, Case, Usage, choose, latent_shape
from model.order import most
from model.presets import PRESETS
from model.training.launch import count_of
from vid_assets.config import Bucket, Stage
from vid_assets.project import Project
from vid_assets.store.state import digest
from vid_assets.views.markdown import table

if TYPE_CHECKING:
    from model.memory.options import DoesNotFitError


_UNITS = {"GiB": GIB, "MiB": 2**20}


@dataclass(frozen=True)
class Plan:
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


def plan_for(project: Project, stage: str, experiment: str) -> Plan:
    """The plan of a stage's largest pass, for the metadata of its checkpoint."""
    section = project.config.stage(stage)
    memory_gb = project.config.train.memory_gb
    budget = None if memory_gb is None else int(memory_gb * GIB)
    (bucket, case), *_ = planned(project, section, experiment)
    return make(project, bucket, case, budget, section.activation)


def policy_for(project: Project, stage: str, experiment: str) -> str | dict[str, bool]:
    """The activation policy of a run: the stage's own; for `auto`, the cheapest that fits the declared memory.

    Raises:
        DoesNotFitError: none fits; the message names what would.
    """
    wanted = project.config.stage(stage).activation
    if wanted != "auto":
        return wanted
    if project.config.train.memory_gb is None:
        return "none"
    found = plan_for(project, stage, experiment)
    if found.chosen is None:
        raise refusal(found)
    return found.chosen


def refusal(plan: Plan) -> DoesNotFitError:
    """The error for a plan of which no policy fits, with what would."""
    from model.memory.options import refusal as refuse

    assert plan.budget is not None
    return refuse(plan.case, plan.usages, plan.budget)


def planned(project: Project, section: Stage, experiment: str, every: bool = False) -> list[tuple[str, Case]]:
    """(bucket, its largest pass in one process): of the bucket with the largest pass, or of every one, largest first.

    Memory grows with the latent positions of a pass, so that the largest pass decides what a stage takes.
    """
    found = sorted(_cases(project, section, experiment), key=lambda one: -one[1].positions)
    return found if every else found[:1]


def _cases(project: Project, section: Stage, experiment: str) -> list[tuple[str, Case]]:
    config, recipe = project.config, project.config.experiments[experiment]
    train = config.train
    device = _device(train.device)
    processes = count_of({"processes": train.processes, "device": train.device})
    found = []
    for bucket in section.parsed_buckets:
        batch = section.batch_sizes.get(bucket.name) or max(section.batch_sizes.values())
        drawn = most(batch, bucket.kind, section.image_share, section.share_unit)
        whole = -(-drawn // processes)
        limit = section.micro_batch.get(bucket.name) if isinstance(section.micro_batch, dict) else section.micro_batch
        samples = min(whole, limit or whole)
        sharded = processes > 1 and train.engine == "fsdp2"
        found.append(
            (
                bucket.name,
                Case(
                    preset=recipe.model,
                    shape=latent_shape(recipe.model, bucket.frames, bucket.height, bucket.width),
                    samples=samples,
                    text_tokens=config.text_encoder.max_tokens if config.text_encoder else 1,
                    image_conditioning=recipe.conditioning,
                    precision=recipe.precision,
                    optimizer=recipe.optimizer.name,
                    lora=recipe.settings["lora"],
                    device=device,
                    # Gradients are there before a pass if it is not a step's only one; DDP keeps room for them always
                    accumulates=samples < whole
                    or len(section.buckets) > 1
                    or (processes > 1 and train.engine == "ddp"),
                    shards=processes if sharded else 1,
                ),
            )
        )
    return found


def make(project: Project, bucket: str, case: Case, budget: int | None, wanted: str | dict[str, bool] = "auto") -> Plan:
    """A plan, from the folder of plans where it was made before.

    Args:
        bucket: how the plan is called.
        budget: bytes of one device.
        wanted: the policy of the run; `auto`: the cheapest that fits, or none where no budget is declared.
    """
    own = [wanted] if isinstance(wanted, dict) else []
    usages = _usages(project, case, own)
    if wanted == "auto":
        picked = None if budget is None else choose(usages, budget)
        chosen = "none" if budget is None else picked.name if picked else None
    else:
        chosen = wanted if isinstance(wanted, str) else usages[-1].name
    return Plan(bucket, case, sorted(usages, key=lambda one: one.recompute_share), budget, chosen)


def _usages(project: Project, case: Case, own: Sequence[dict[str, bool]]) -> list[Usage]:
    """The usages of all policies, and last of the stage's own choice of layers where it has one."""
    found = [Usage(**one) for one in _kept(project, case, None)]
    for policy in own:
        found += [Usage(**one) for one in _kept(project, case, policy)]
    return found


def _kept(project: Project, case: Case, policy: dict[str, bool] | None) -> list[dict[str, Any]]:
    parts = [case.as_dict(), PLAN_CODE_VERSION, version("torch"), version("diffusers"), policy]
    path = project.folder("plans") / f"{digest(json.loads(json.dumps(parts)))[:24]}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    from model.memory.plan import plan

    usages = [asdict(one) for one in plan(case, None if policy is None else (policy,))]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(usages, indent=1), encoding="utf-8")
    partial.replace(path)
    return usages


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
    from model.vae import pick_device

    return pick_device(name)
