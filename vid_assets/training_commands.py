"""The commands of `vid-assets` for what was trained: `compare` evaluations, and `export` a checkpoint for diffusers."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vid_assets.config import ConfigError
from vid_assets.project import Project

#: What a pipeline has beside the denoiser, by the section that says where it comes from.
_PARTS = ("vae", "text_encoder", "pooled_text_encoder", "image_encoder")


def add_commands(commands: Any) -> None:
    """Register the commands with the parser of `vid-assets`."""
    compare = commands.add_parser("compare", help="the evaluations of a stage beside one another, as they are stored")
    compare.add_argument("stage", nargs="?", help="default: the last one")
    compare.add_argument("--experiment", help="which one the others are held against; default: the first evaluated")
    compare.add_argument("--json", action="store_true", help="one JSON object a line")
    compare.set_defaults(run=_compare)
    export = commands.add_parser("export", help="write a checkpoint as a folder that diffusers loads")
    export.add_argument("checkpoint", help="its folder, checkpoint/STAGE[EXPERIMENT], or the beginning of its run key")
    export.add_argument("folder", help="a new folder")
    export.add_argument("--weights", choices=("ema", "raw"), default="ema", help="the average (default), or the last")
    export.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    export.set_defaults(run=_export)


def _compare(project: Project, options: argparse.Namespace) -> int:
    from vid_assets.steps.comparisons import compared, comparison_table

    stages = [one.name for one in project.config.stages]
    stage = options.stage or stages[-1]
    if stage not in stages:
        raise ConfigError(f"{stage}: no such stage; there are {', '.join(stages)}")
    wanted = [options.experiment] if options.experiment else list(project.config.experiments)
    states = {one: project.states.read(f"evaluation/{stage}", one) for one in wanted}
    found = next(((one, state) for one, state in states.items() if state is not None), None)
    if found is None:
        raise ConfigError(f"evaluation/{stage} is not finished for {' or '.join(wanted) or 'any experiment'}")
    rows = compared(project, stage, found[0], found[1].facts)
    if options.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    else:
        print(comparison_table(rows))
    return 0


def _export(project: Project, options: argparse.Namespace) -> int:
    from model.export import Parts, export
    from vid_assets.steps.trained_runs import run_named
    from vid_assets.steps.vae import weights_of

    run = run_named(project, options.checkpoint)
    if run is None or not run.there:
        raise ConfigError(f"{options.checkpoint}: no finished checkpoint is called so")
    folder = Path(project.local, run.folder)
    final = folder / "final" if (folder / "final").is_dir() else folder
    sources = {name: getattr(project.config, name) for name in _PARTS}
    parts = Parts(**{name: weights_of(project, one).folder for name, one in sources.items() if one})
    done = export(final, options.folder, parts, weights=options.weights, dtype=options.dtype)
    print(f"{done.folder}: {', '.join(done.parts)}")
    if done.missing:
        print(f"not at hand: {', '.join(done.missing)}")
    print(f"load it with {done.loading}")
    return 0
