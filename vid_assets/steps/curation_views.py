"""What a person looks at to trust the curation of a batch: contact sheets of kept and rejected clips, the funnel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vid_assets.project import Project
from vid_assets.steps.curation import thumbnails
from vid_assets.store.tables import Row, equals


def curation_views(project: Project, batch: str, redraw: bool) -> dict[str, str]:
    """Markdown by title. The pictures lie in `views/<batch>/` below the home, and drawn on `redraw` or if missing."""
    where = equals("ingest_batch", batch)
    verdicts = project.store.read("verdicts", where)
    rejected = [row for row in verdicts if not row["accepted"]]
    kept = [row for row in verdicts if row["accepted"]]
    folder = project.folder("views", batch)
    shown = {}
    for title, rows in (("kept clips", kept), ("rejected clips", rejected)):
        draw = partial(_sheet, project, batch, title, rows)
        shown[title] = _picture(folder / f"{title.replace(' ', '_')}.jpg", title, redraw, draw)
    shown["funnel"] = _picture(folder / "funnel.png", "funnel", redraw, lambda: _funnel(project, where, verdicts))
    return shown


def _sheet(project: Project, batch: str, title: str, rows: list[Row]) -> bytes:
    from vid_assets.views.sheets import contact_sheet

    clips = {row["clip_id"]: row for row in project.store.read("clips", equals("ingest_batch", batch))}
    names = _names(project)
    ordered = sorted(
        (row for row in rows if row["clip_id"] in clips),
        key=lambda row: (names.get(clips[row["clip_id"]]["video_id"], ""), clips[row["clip_id"]]["start_s"]),
    )
    pictures = thumbnails(project, (clips[row["clip_id"]]["video_id"] for row in ordered))
    tiles = []
    for row in ordered:
        clip = clips[row["clip_id"]]
        lines = [names.get(clip["video_id"], "?")]
        if clip["kind"] == "video":
            lines.append(f"{clip['start_s']:.2f}-{clip['end_s']:.2f} s")
        lines += [_reason(failure) for failure in row["failures"]]
        tiles.append((_nearest(pictures.get(clip["video_id"], []), (clip["start_s"] + clip["end_s"]) / 2), lines))
    # with reasons to read below them, fewer pictures fit
    columns, most = (4, 16) if any(row["failures"] for row in rows) else (6, 24)
    return contact_sheet(tiles, columns=columns, title=f"{title} of {batch}: {len(rows)}", most=most)


def _names(project: Project) -> dict[str, str]:
    """The file name of each video: that of its first source."""
    names: dict[str, str] = {}
    for row in sorted(project.store.read("sources"), key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["video_id"]:
            names.setdefault(row["video_id"], Path(row["uri"]).name)
    return names


def _reason(failure: Row) -> str:
    rule = failure["rule"]
    return f"✗ {rule}" if failure["value"] is None else f"✗ {rule}: {failure['value']:.3g} ({failure['limit']:.3g})"


def _nearest(pictures: list[Row], time_s: float) -> bytes | None:
    return min(pictures, key=lambda one: abs(one["time_s"] - time_s))["jpeg"] if pictures else None


def _funnel(project: Project, where: str, verdicts: list[Row]) -> bytes:
    from vid_assets.views.plots import funnel

    videos = project.store.count("videos", where)
    readable = project.store.count("videos", where + " AND status = 'ok'")
    kept = sum(row["accepted"] for row in verdicts)
    return funnel([("files", videos), ("readable", readable), ("clips", len(verdicts)), ("kept", kept)])


def _picture(path: Path, alt: str, redraw: bool, draw: Callable[[], bytes]) -> str:
    from vid_assets.views.sheets import as_markdown

    if redraw or not path.is_file():
        path.write_bytes(draw())
    return as_markdown(path.read_bytes(), alt)
