"""`vid-assets lineage`: what made a checkpoint, down to each source, and which checkpoints used a video."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from vid_assets.commands import OK
from vid_assets.digests import SHOWN
from vid_assets.project import Project
from vid_assets.section import ConfigError

#: Sources of a training set, and clips of a source, that are listed unless all are asked for.
_LISTED = 20


HELP = "what a checkpoint was made from, or which checkpoints used a video"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "what",
        help="a checkpoint: its folder, checkpoint/STAGE[EXPERIMENT], or the beginning of its run key or weights hash; "
        "or a video: its uri or path, the end of one, or the beginning of its video_id",
    )
    parser.add_argument("--all", action="store_true", help="list every source and clip, however many there are")
    parser.add_argument("--json", action="store_true", help="one JSON object, with every source and clip")


def run(project: Project, options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from vid_assets.home.runs import run_named
    from vid_assets.reports import lineage

    trained = run_named(project, options.what)
    if trained is not None:
        found = lineage.forward(project, trained)
        lines = describe_checkpoint(found, None if options.all else _LISTED)
    else:
        try:
            found = lineage.used_by(project, options.what)
        except ConfigError as error:
            raise ConfigError(f"no checkpoint is meant by that, and no one video: {error}") from None
        lines = describe_video(found)
    if options.json:
        print(json.dumps(found))
    else:
        for line in lines:
            print(line)
    return OK


def describe_checkpoint(found: Mapping[str, Any], most: int | None) -> Iterator[str]:
    """The stages of a checkpoint as lines for people, with at most `most` sources of each."""
    for number, stage in enumerate(found["stages"]):
        yield ("started from " if number else "") + _name(stage)
        yield f"  {stage['folder']}"
        yield from (f"  NOTE: {note}" for note in stage["notes"])
        yield f"  {_recipe(stage)}"
        training_set = stage["training_set"]
        members = ", ".join(f"{count:,} {what}" for what, count in training_set["members"].items()) or "no member known"
        version = training_set["latents_version"]
        pinned = f", latents version {version}" if version is not None else ""
        yield f"  training set {_short(training_set['digest'])}{pinned}: {members}"
        yield from (f"  NOTE: {note}" for note in training_set["notes"])
        sources = training_set["sources"]
        for source in sources[:most]:
            yield from _source(source, most)
        if most is not None and len(sources) > most:
            yield f"    and {len(sources) - most:,} more sources; --all lists them"


def _name(run: Mapping[str, Any]) -> str:
    gone = ", NOT THERE" if run["weights_hash"] and not run["there"] else ""
    weights = f"weights {_short(run['weights_hash'])}" if run["weights_hash"] else "no weights"
    return f"checkpoint/{run['stage']}[{run['experiment']}]  run {run['run_key']}, {weights}{gone}"


def _recipe(stage: Mapping[str, Any]) -> str:
    recipe, start = stage["recipe"], stage["start"]
    begun = {"checkpoint": f"{start.get('weights', '')} weights of {_short(start.get('weights_hash'))}".strip()}
    begun["pretrained weights"] = f"pretrained weights {_short(start.get('weights_hash'))}"
    begun["fresh weights"] = f"fresh weights, seed {start.get('seed')}"
    objective = (recipe.get("objective") or {}).get("name")
    parts = [recipe.get("model"), objective, f"{recipe['steps']:,} steps" if "steps" in recipe else None]
    parts += ["LoRA" if recipe.get("lora") else None, f"from {begun[start['from']]}"]
    return f"{', '.join(filter(None, parts))}; VAE {_short(stage['vae_weights_hash'])}, code {stage['code_version']}"


def _source(source: Mapping[str, Any], most: int | None) -> Iterator[str]:
    yield (
        f"    {_short(source['video_id'])}  {', '.join(source['uris']) or '-'}  ({source['state']})  "
        f"{_counts(source['samples'])}"
    )
    clips = source["clips"]
    for clip in clips[:most]:
        times = "" if clip.get("start_s") is None else f"{clip['start_s']:.3f}-{clip['end_s']:.3f} s  "
        still = "still  " if clip.get("kind") == "image" else times
        yield f"      clip {_short(clip['clip_id'])}  {still}{clip['verdict']}  {_counts(clip['samples'])}"
    if most is not None and len(clips) > most:
        yield f"      and {len(clips) - most:,} more clips"


def _counts(samples: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} in {split}" for split, count in samples.items())


def describe_video(found: Mapping[str, Any]) -> Iterator[str]:
    """The checkpoints that used a video, as lines for people."""
    yield f"video {_short(found['video_id'])}: {', '.join(found['uris']) or '-'} ({found['state']})"
    for run in found["checkpoints"]:
        samples, through = run["samples"], run.get("through")
        how = f"started from run {through}" if through else _counts(samples) or "its members were deleted since"
        if samples and not samples.get("train"):
            how += ": measured on, not trained on"
        yield f"  {_name(run)}: {how}"
        yield f"    {run['folder']}"
        yield from (f"    NOTE: {note}" for note in run["notes"])
    if not found["checkpoints"]:
        yield "  no checkpoint used it"


def _short(text: str | None) -> str:
    return text[:SHOWN] if text else "-"
