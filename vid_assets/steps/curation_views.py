"""What a person looks at to trust the curation of a batch: contact sheets of kept and rejected clips, the funnel."""

from __future__ import annotations

from pathlib import Path

from vid_assets.project import Project
from vid_assets.steps.curation import rejected_by_reason, thumbnails
from vid_assets.store.tables import Row, equals
from vid_assets.views.plots import funnel
from vid_assets.views.sheets import as_markdown, contact_sheet

_MOST_TILES = 24


def curation_views(project: Project, batch: str) -> dict[str, str]:
    """Markdown by title. The pictures are also written to `views/<batch>/` below the home."""
    where = equals("ingest_batch", batch)
    clips = {row["clip_id"]: row for row in project.store.read("clips", where)}
    verdicts = [row for row in project.store.read("verdicts", where) if row["clip_id"] in clips]
    names = {row["video_id"]: row["uri"] for row in project.store.read("sources") if row["video_id"]}
    kept = [row for row in verdicts if row["accepted"]]
    rejected = [row for row in verdicts if not row["accepted"]]
    folder = project.folder("views", batch)
    shown = {}
    for title, rows in (("kept clips", kept), ("rejected clips", rejected)):
        image = _sheet(project, f"{title} of {batch}: {len(rows)}", rows[:_MOST_TILES], clips, names)
        shown[title] = _keep(folder / f"{title.replace(' ', '_')}.jpg", image, title)
    videos = project.store.count("videos", where)
    readable = project.store.count("videos", where + " AND status = 'ok'")
    steps = [("files", videos), ("readable", readable), ("clips", len(verdicts)), ("kept", len(kept))]
    shown["funnel"] = _keep(folder / "funnel.png", funnel(steps), "funnel")
    reasons = rejected_by_reason(rejected)
    lines = [f"| {rule} | {count} |" for rule, count in reasons.items()]
    shown["rejections"] = "\n".join(["| rule | clips that fail it |", "|---|---|", *lines]) if lines else "none"
    return shown


def _sheet(project: Project, title: str, rows: list[Row], clips: dict[str, Row], names: dict[str, str]) -> bytes:
    pictures = thumbnails(project, (clips[row["clip_id"]]["video_id"] for row in rows))
    tiles = []
    for row in rows:
        clip = clips[row["clip_id"]]
        lines = [Path(names.get(clip["video_id"], "?")).name]
        if clip["kind"] == "video":
            lines.append(f"{clip['start_s']:.2f}-{clip['end_s']:.2f} s")
        lines += [_reason(failure) for failure in row["failures"]]
        jpeg = _nearest(pictures.get(clip["video_id"], []), (clip["start_s"] + clip["end_s"]) / 2)
        if jpeg is not None:
            tiles.append((jpeg, lines))
    return contact_sheet(tiles, columns=6, title=title)


def _reason(failure: Row) -> str:
    value = "not measured" if failure["value"] is None else f"{failure['value']:.3g}"
    return f"{failure['rule']}: {value} ({failure['limit']:.3g})"


def _nearest(pictures: list[Row], time_s: float) -> bytes | None:
    return min(pictures, key=lambda one: abs(one["time_s"] - time_s))["jpeg"] if pictures else None


def _keep(path: Path, image: bytes, alt: str) -> str:
    path.write_bytes(image)
    return as_markdown(image, alt)
