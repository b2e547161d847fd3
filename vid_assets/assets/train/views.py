"""Pictures and tables of trained stages: how a run went, and what its checkpoint generates beside the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vid_assets.assets.asset import ShownFacts
from vid_assets.assets.train.comparisons import compared, comparison_table, training_table
from vid_assets.assets.train.facts import Evaluated, Trained
from vid_assets.assets.train.names import CHECKPOINT
from vid_assets.project import Project
from vid_assets.views.markdown import LIMIT, as_markdown, table

#: Metric name -> [[step, value], ...], as a run records them.
Curves = dict[str, list[list[float]]]
#: Frames of each video on the contact sheet, and bytes that all moving pictures together may have.
_FRAMES, _MOVING = 6, 3 * LIMIT


def checkpoint_views(project: Project, stage: str, experiment: str, facts: ShownFacts) -> dict[str, str | Path]:
    """Markdown by title: the loss of a run with those of others, what it recomputes, its memory plan, a comparison."""
    from vid_assets.views.plots import loss_plot

    found = Trained.read(facts)
    curves = read_curves(project.local / found.folder)
    start, before = found.heldout_start, project.config.previous_stage(stage)
    words = f"weights of {before.name}" if before else "at the start"
    picture = loss_plot(
        [loss for _, loss in curves["loss"]],
        f"checkpoint/{stage}, {experiment}",
        steps=[int(step) for step, _ in curves["loss"]],
        heldout=_points(curves, "heldout_loss"),
        level=None if start is None else (f"held out, {words}", start),
        others=_other_curves(project, stage, experiment, found),
    )
    shown: dict[str, str | Path] = {"loss by step": as_markdown(picture, "loss by step")}
    if found.recomputed:
        rows = [(name, f"{done:,} of {every:,}") for name, (done, every) in found.recomputed.items()]
        shown["recomputed in the backward pass"] = table(("modules", "recomputed"), rows)
    shown["memory plan"] = found.memory_plan
    shown["comparison"] = training_table(project, stage, experiment, facts)
    return shown | _folders(project.local / found.folder)


def read_curves(final: Path) -> Curves:
    """What a finished run recorded along its way, by name."""
    return json.loads((final / "curves.json").read_text(encoding="utf-8"))


def _folders(files: Path) -> dict[str, Path]:
    """Where the files of a view lie, and the curves for TensorBoard beside them."""
    paths = {"files": files, "tensorboard": files.parent / "tensorboard"}
    return {name: path for name, path in paths.items() if path.is_dir()}


def _points(curves: Curves, name: str) -> list[tuple[float, float]]:
    return [(step, value) for step, value in curves.get(name, []) if value is not None]


def _other_curves(
    project: Project, stage: str, experiment: str, first: Trained
) -> dict[str, list[tuple[float, float]]]:
    """The held-out losses of other experiments in the same stage, where they were measured on the same terms."""
    found = {}
    for other in project.config.experiments:
        state = project.states.read(f"{CHECKPOINT}/{stage}", other)
        if other == experiment or state is None:
            continue
        one = Trained.read(state.facts)
        folder = project.local / one.folder
        alike = (one.training_set, one.objective) == (first.training_set, first.objective)
        if alike and (folder / "curves.json").is_file():
            found[f"held out, {other}"] = _points(read_curves(folder), "heldout_loss")
    return {name: points for name, points in found.items() if points}


def evaluation_views(project: Project, stage: str, experiment: str, facts: ShownFacts) -> dict[str, str | Path]:
    """Markdown by title: contact sheet and moving pictures beside the data, the loss by time, and a comparison."""
    from vid_assets.views.plots import lines_plot

    folder = project.local / Evaluated.read(facts).folder
    written = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    rows = compared(project, stage, experiment, facts)
    by_time = {row.name: [(float(at), loss) for at, loss in row.by_time.items()] for row in rows if not row.notes}
    picture = lines_plot(
        by_time, f"evaluation/{stage}, {experiment}", across="share of training times below", up="held-out loss"
    )
    shown: dict[str, str | Path] = {
        "comparison": comparison_table(rows),
        "held-out loss, by time": as_markdown(picture, "held-out loss by time"),
    }
    if written["videos"]:
        shown["generated and data"] = as_markdown(_sheet(folder, written), "generated frames beside the data")
        shown["moving"] = _moving(folder, written)
    return shown | _folders(folder)


def _sheet(folder: Path, written: Mapping[str, Any]) -> bytes:
    """A row of frames for each video: generated, its data, and what the checkpoints it is compared with make of it."""
    from vid_assets.views.sheets import Tile, contact_sheet

    rows: list[list[Tile]] = []
    for title, video in _in_rows(written):
        frames = _frames(folder / Path(video["path"]).name)
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype(int))
        rows.append([(frames[place], [title if not number else ""]) for number, place in enumerate(chosen)])
    columns = max(len(row) for row in rows)
    if columns == 1:  # stills: those that belong together in one row
        columns = 1 + len(written["compare"]) + any(video["kind"] == "data" for video in written["videos"])
    return contact_sheet([tile for row in rows for tile in row], columns, tile_width=160, most=8 * _FRAMES)


def _in_rows(written: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each video with its title, those that belong together one after the other."""
    found = []
    generated = [video for video in written["videos"] if video["kind"] == "generated"]
    data = {video["sample_id"]: video for video in written["videos"] if video["kind"] == "data"}
    for number, video in enumerate(generated):
        found.append((f"generated {number}", video))
        if video["sample_id"] in data:
            found.append((f"data ({video['split']})", data.pop(video["sample_id"])))
        found += [(f"{one['name']}, before", one["videos"][number]) for one in written["compare"]]
    return found


def _moving(folder: Path, written: Mapping[str, Any]) -> str:
    """The videos as moving pictures, as many as the web UI's log can hold."""
    shown, left = [], _MOVING
    for title, video in _in_rows(written):
        if video["gif"] is None:
            continue
        data = (folder / Path(video["gif"]).name).read_bytes()
        if len(data) > min(LIMIT, left):
            shown.append(f"{title}: {Path(video['gif']).name}, too large to be shown here")
            continue
        left -= len(data)
        shown.append(f"{title} {as_markdown(data, title)}")
    return "\n\n".join(shown) or "stills alone"


def _frames(path: Path) -> np.ndarray:
    """All frames of a written video or still, uint8 RGB (F, H, W, 3)."""
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
