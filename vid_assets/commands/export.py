"""`vid-assets export`: a checkpoint as a folder that diffusers loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from vid_assets.commands import OK
from vid_assets.project import Project
from vid_assets.section import ConfigError

HELP = "write a checkpoint as a folder that diffusers loads"
#: What a pipeline has beside the denoiser, by the section that says where it comes from.
_PARTS = ("vae", "text_encoder", "pooled_text_encoder", "image_encoder")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("checkpoint", help="its folder, checkpoint/STAGE[EXPERIMENT], or the beginning of its run key")
    parser.add_argument("folder", help="a new folder")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="the average (default), or the last")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from model.export import Parts, export
    from vid_assets.assets.weights import weights_of
    from vid_assets.home.runs import run_named

    found = run_named(project, options.checkpoint)
    if found is None or not found.there:
        raise ConfigError(f"{options.checkpoint}: no finished checkpoint is called so")
    folder = Path(project.local, found.folder)
    final = folder / "final" if (folder / "final").is_dir() else folder
    sources = {name: getattr(project.config, name) for name in _PARTS}
    parts = Parts(**{name: weights_of(project.local, one).folder for name, one in sources.items() if one})
    done = export(final, options.folder, parts, weights=options.weights, dtype=options.dtype)
    print(f"{done.folder}: {', '.join(done.parts)}")
    if done.missing:
        print(f"not at hand: {', '.join(done.missing)}")
    print(f"load it with {done.loading}")
    return OK
