"""`vid-assets plan`: the memory that training takes under each activation policy, before it runs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from vid_assets.commands import FAILED, OK
from vid_assets.commands.words import table
from vid_assets.project import Project
from vid_assets.section import ConfigError

#: Options that say what to plan without a configured stage, with what the plan takes where they are not given.
_FREE = {"micro_batch": 1, "precision": "bf16", "optimizer": "adamw", "device": "cuda", "text_tokens": 512}
HELP = (
    "the memory that training takes, for each policy of activation checkpointing, before it runs; exit code 1 if a "
    "stage does not fit"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--stage", help="one stage of the configuration; default: all")
    parser.add_argument("--experiment", help="one experiment of the configuration; default: all")
    parser.add_argument("--all-buckets", action="store_true", help="every bucket, not only that of the largest pass")
    parser.add_argument("--preset", help="plan this model preset, whatever the configuration trains; with --bucket")
    parser.add_argument("--bucket", help="frames x height x width of its clips, such as 72x576x1024")
    parser.add_argument("--micro-batch", type=_count, help="with --preset: samples in one pass; default 1")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="with --preset; default bf16")
    parser.add_argument("--optimizer", choices=("adamw", "adamw_fused", "adamw_8bit"), help="with --preset")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="with --preset; default cuda, which need not be here")
    parser.add_argument("--text-tokens", type=_count, help="with --preset: of the longest caption; default 512")
    parser.add_argument("--lora-rank", type=_count, help="with --preset: train adapters of this rank")
    parser.add_argument("--budget", type=_gib, help="GiB of one device; default train.memory_gb of the configuration")
    parser.add_argument("--json", action="store_true", help="one JSON object for each plan, in bytes")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.assets.train import memory_plan as plans

    budget = options.budget or project.config.train.memory_gb
    size = None if budget is None else int(budget * plans.GIB)
    found = _free(project, options, size) if options.preset or options.bucket else _staged(project, options, size)
    unfit = 0
    for number, (name, one) in enumerate(found):
        refused = plans.refusal(one) if one.fits is False else None
        unfit += refused is not None
        if options.json:
            print(json.dumps({"name": name, **one.as_dict(), "refusal": refused and str(refused)}), flush=True)
            continue
        print(("\n" if number else "") + (f"{name}: " if name else "") + one.headline)
        rows = one.rows()
        for line in table(tuple(rows[0]), [tuple(row.values()) for row in rows]):
            print(line)
        taken = one.usage
        if taken is not None:
            print("* recomputes " + _coverage(taken.coverage))
        if refused:
            print(f"vid-assets: {refused}", file=sys.stderr)
    return FAILED if unfit else OK


def _free(project: Project, options: argparse.Namespace, budget: int | None) -> Any:
    """The plan of a preset and a bucket."""
    from vid_assets.assets.train import memory_plan as plans

    if not (options.preset and options.bucket):
        raise ConfigError("--preset and --bucket go together, such as --preset svd --bucket 72x576x1024")
    if options.stage or options.experiment:
        raise ConfigError("--preset plans a model outside of the configuration; leave --stage and --experiment out")
    given = {name: getattr(options, name) or default for name, default in _FREE.items()}
    rank = options.lora_rank
    try:
        bucket, case = plans.case_of(
            options.preset,
            options.bucket,
            samples=given.pop("micro_batch"),
            lora={"rank": rank, "alpha": float(rank), "targets": None, "dropout": 0.0} if rank else None,
            **given,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    yield "", plans.make(project.folder("plans"), bucket, case, budget)


def _staged(project: Project, options: argparse.Namespace, budget: int | None) -> Any:
    """The plans of the configured stages and experiments."""
    from vid_assets.assets.train import memory_plan as plans

    odd = [name for name in (*_FREE, "lora_rank") if getattr(options, name) is not None]
    if odd:
        raise ConfigError(f"--{odd[0].replace('_', '-')} goes with --preset; for a stage, the configuration says it")
    config = project.config
    stages = {stage.name: stage for stage in config.stages}
    for what, wanted, known in (
        ("stage", options.stage, list(stages)),
        ("experiment", options.experiment, list(config.experiments)),
    ):
        if wanted and wanted not in known:
            raise ConfigError(f"{wanted!r} is no {what}; known are {', '.join(known) or 'none'}")
    for stage in stages.values():
        for experiment in config.experiments:
            if (options.stage or stage.name) != stage.name or (options.experiment or experiment) != experiment:
                continue
            for bucket, case in plans.planned(plans.Setup.of(config, stage.name, experiment), options.all_buckets):
                plan = plans.make(project.folder("plans"), bucket, case, budget, stage.activation)
                yield f"{stage.name} [{experiment}]", plan


def _coverage(rows: list[Any]) -> str:
    return ", ".join(f"{done} of {total} {name}" for name, done, total in rows if done) or "nothing"


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _gib(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value
