"""`evaluation/<stage>`: held-out loss and generated, decoded videos of a checkpoint, beside the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vid_assets.project import Project
from vid_assets.steps.checkpoints import final_folder, manifest, read_record
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest

Progress = Callable[[str], None]


def evaluation(
    project: Project, stage: str, experiment: str, force: bool = False, progress: Progress = print
) -> Output:
    """Evaluate a checkpoint: its held-out loss, and its videos as files."""
    from model.evaluate import evaluate

    final = final_folder(project, stage, experiment)
    record = read_record(final)
    settings = project.config.evaluation.model_dump()
    folder = project.folder("evaluations", experiment, stage, digest([record["weights_hash"], settings])[:16])
    document = manifest(project, stage, experiment) | {
        "checkpoint": str(final),
        "evaluation": settings,
        "output": str(folder),
    }
    found = evaluate(document)
    files = _files(folder)
    loss = found["heldout_loss"]
    facts = {
        "folder": str(folder.relative_to(project.local)),
        "checkpoint": record["weights_hash"],
        "held-out loss": loss if loss is not None else "not measured",
        "held-out samples": found["heldout_samples"],
        "note": found["note"] or "",
        "vae note": project.config.vae.note or "",
        "generated": sum(video["kind"] == "generated" for video in found["videos"]),
        "bytes": sum(size for _, size in files),
    }
    version = digest([record["weights_hash"], settings, loss])
    return Output(version, digest(files), rows=len(files), computed=len(files), facts=facts)


def strip_views(project: Project, folder: str) -> dict[str, str]:
    """Markdown by title: a filmstrip of each generated video, and of the data beside it."""
    from vid_assets.views.sheets import as_markdown, filmstrip

    shown = {}
    listed = json.loads(Path(project.local, folder, "evaluation.json").read_text(encoding="utf-8"))["videos"]
    for video in listed:
        frames = _frames(Path(project.local, folder, Path(video["path"]).name))
        image = filmstrip(frames, 6)
        shown[f"{video['kind']} {video['name']}"] = as_markdown(image, f"{video['kind']} {video['name']}")
    return shown


def _frames(path: Path) -> np.ndarray:
    """All frames of a written video or still, uint8 RGB (F, H, W, 3)."""
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _files(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(file.relative_to(folder)), file.stat().st_size) for file in folder.rglob("*") if file.is_file())


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """Digest of the evaluation's files, None where they are gone."""
    files = _files(Path(project.local, state.facts["folder"]))
    return digest(files) if files else None
