"""What a person looks at to trust the curation: sheets by reason, score histograms with their limits, the funnel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vid_assets.assets.curate.stored_stats import thumbnails
from vid_assets.assets.queries import batches, presence
from vid_assets.curation.metrics import RULES
from vid_assets.curation.tuning import Flip
from vid_assets.digests import digest
from vid_assets.project import Project
from vid_assets.store.tables import Row, equals, one_of
from vid_assets.views.markdown import LIMIT, as_markdown

if TYPE_CHECKING:
    from vid_assets.views.sheets import Tile

_OPS = {rule.name: rule.op for rule in RULES}
_KEPT_SHOWN, _COLUMNS = 24, 6
#: Reasons below a picture; a clip may have more than two dozen.
_REASONS_SHOWN = 4


def curation_views(project: Project, batch: str) -> dict[str, str]:
    """Markdown by title. The pictures lie in `views/<batch>/` below the home; drawn when what they show changed."""
    batch_of = partial(_Batch, project, batch)
    drawings: dict[str, tuple[str, Callable[[], bytes]]] = {
        "funnel": ("funnel.png", lambda: _funnel(project, batch)),
        "kept clips": ("kept_clips.jpg", lambda: batch_of().kept()),
        "rejected clips": ("rejected_clips.jpg", lambda: batch_of().rejected()),
        "scores": ("scores.png", lambda: batch_of().scores()),
    }
    return _pictures(project, batch, drawings, _shown(project, batch))


def duplicate_views(project: Project) -> dict[str, str]:
    """The funnel of all batches, and each clip that lost beside the one that it lost to, as Markdown by title."""
    drawings: dict[str, tuple[str, Callable[[], bytes]]] = {
        "funnel": ("funnel.png", lambda: _funnel(project, None)),
        "duplicates": ("duplicates.jpg", lambda: _pairs(project)),
    }
    state = project.states.read("duplicates", None)
    shown = [state.data_version if state else None, *(_shown(project, batch) for batch in batches(project.store))]
    return _pictures(project, "all", drawings, digest(shown))


def _shown(project: Project, batch: str) -> str:
    """A hash of what the pictures of a batch show: its verdicts, and which of its videos are present."""
    states = [project.states.read(name, batch) for name in ("raw_videos", "clip_scores", "curated_clips")]
    limits = project.config.policy.model_dump()
    return digest([[state.data_version if state else None for state in states], limits, presence(project.store, batch)])


def _pictures(
    project: Project, folder: str, drawings: Mapping[str, tuple[str, Callable[[], bytes]]], shown: str
) -> dict[str, str]:
    """The pictures as Markdown. `shown` is written behind them, so that a picture of something else is drawn again."""

    place = project.folder("views", folder)
    mark = place / ".shown"
    current = mark.is_file() and mark.read_text(encoding="utf-8") == shown
    found = {}
    for title, (name, draw) in drawings.items():
        path = place / name
        if not current or not path.is_file():
            path.write_bytes(draw())
        found[title] = as_markdown(path.read_bytes(), title)
    mark.write_text(shown, encoding="utf-8")
    return found


def flips_sheet(project: Project, flips: Sequence[Flip]) -> bytes:
    """The clips that other limits would win or lose, by reason, as JPEG bytes."""
    from vid_assets.views.sheets import Panel, panel_sheet

    by_reason: dict[tuple[bool, str], list[Flip]] = {}
    for flip in flips:
        for reason in flip.reasons:
            by_reason.setdefault((flip.kept, reason), []).append(flip)
    # Pictures of those that are shown alone: a limit may flip most of a home
    show = _Pictures(project, (flip.clip.video_id for chosen in by_reason.values() for flip in chosen[:_COLUMNS]))
    panels = []
    for (kept, reason), chosen in sorted(by_reason.items(), key=lambda item: (not item[0][0], item[0][1])):
        tiles = [
            show.tile(vars(flip.clip), [_reason(vars(failure)) for failure in flip.failures])
            for flip in chosen[:_COLUMNS]
        ]
        word = "gained" if kept else "lost"
        panels.append(Panel(f"{word}: {reason}, {len(chosen)} clips", tiles, len(chosen)))
    return panel_sheet(panels, _COLUMNS, "what would flip")


class _Batch:
    """The judged clips of one batch."""

    def __init__(self, project: Project, batch: str) -> None:
        here = equals("ingest_batch", batch)
        self._project, self._batch = project, batch
        present = set(presence(project.store, batch))
        clips = (row for row in project.store.read("clips", here) if row["video_id"] in present)
        self._clips = {row["clip_id"]: row for row in clips}
        self._verdicts = [row for row in project.store.read("verdicts", here) if row["clip_id"] in self._clips]

    def kept(self) -> bytes:
        from vid_assets.views.sheets import contact_sheet

        kept = [self._clips[row["clip_id"]] for row in self._verdicts if row["accepted"]]
        show = _Pictures(self._project, (clip["video_id"] for clip in kept))
        kept.sort(key=lambda clip: (show.name(clip), clip["start_s"]))
        tiles = [show.tile(clip) for clip in kept[:_KEPT_SHOWN]]
        title = f"kept clips of {self._batch}: {len(kept)}" + _first(len(tiles), len(kept))
        return contact_sheet(tiles, columns=_COLUMNS, title=title, most=_KEPT_SHOWN)

    def rejected(self) -> bytes:
        """A panel for each rule, the most frequent first, and in it the clips nearest to the limit first.

        What could not be measured is one panel, the last: it is most often only another sign of a clip too short.
        """
        from vid_assets.views.sheets import Panel, panel_sheet

        by_rule: dict[str, list[tuple[Row, Row]]] = {}
        for row in self._verdicts:
            for failure in _by_panel(row["failures"]):
                by_rule.setdefault(_panel_of(failure), []).append((row, failure))
        chosen = {rule: sorted(found, key=_from_limit)[:_COLUMNS] for rule, found in by_rule.items()}
        show = _Pictures(
            self._project, {self._clips[row["clip_id"]]["video_id"] for found in chosen.values() for row, _ in found}
        )
        panels = []
        for rule, found in sorted(by_rule.items(), key=lambda item: (item[0] == _UNMEASURED, -len(item[1]), item[0])):
            tiles = []
            for row, failure in chosen[rule]:
                others = len(row["failures"]) - 1
                lines = [
                    _value(failure),
                    *([f"and {others} other reasons" if others > 1 else "and 1 other"] if others else []),
                ]
                tiles.append(show.tile(self._clips[row["clip_id"]], lines))
            title = f"{rule}{_limit(found[0][1])}: {len(found)} clip{'s' if len(found) > 1 else ''}"
            panels.append(Panel(title, tiles, len(found)))
        rejected = sum(not row["accepted"] for row in self._verdicts)
        title = f"rejected clips of {self._batch}: {rejected}, by reason, the nearest to the limit first"
        return panel_sheet(panels, _COLUMNS, title, limit=2 * LIMIT)

    def scores(self) -> bytes:
        from vid_assets.views.plots import Distribution, histograms

        policy, clips = self._project.config.policy, self._clips
        columns = sorted({rule.metric.name for rule in RULES})
        rows = self._project.store.read("clip_scores", equals("ingest_batch", self._batch), ["clip_id", *columns])
        shown = []
        for rule in RULES:
            limit = getattr(policy, rule.name)
            metric = rule.metric
            values = [row[metric.name] for row in rows if clips.get(row["clip_id"], {}).get("kind") in metric.kinds]
            if values:
                op = rule.op if limit is not None else None
                shown.append(Distribution(rule.name, values, metric.unit, limit, op))
        return histograms(shown or [Distribution("no clips", [])], columns=4)


class _Pictures:
    """Tiles of clips: the stored thumbnail nearest to the middle of each, with its name and times."""

    def __init__(self, project: Project, video_ids: Iterable[str]) -> None:
        wanted = sorted(set(video_ids))
        self._names = file_names(project, wanted)
        self._thumbnails = thumbnails(project.store, wanted)

    def name(self, clip: Mapping[str, Any]) -> str:
        return self._names.get(clip["video_id"], "?")

    def tile(self, clip: Mapping[str, Any], reasons: Sequence[str] = ()) -> Tile:
        lines = [self.name(clip)]
        if clip["kind"] == "video":
            lines.append(f"{clip['start_s']:.2f}-{clip['end_s']:.2f} s")
        stored = self._thumbnails.get(clip["video_id"], [])
        middle = (clip["start_s"] + clip["end_s"]) / 2
        picture = min(stored, key=lambda one: abs(one["time_s"] - middle))["jpeg"] if stored else None
        more = len(reasons) - _REASONS_SHOWN
        return picture, [*lines, *reasons[:_REASONS_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def file_names(project: Project, video_ids: Iterable[str]) -> dict[str, str]:
    """The file name of each video: that of its first source."""
    names: dict[str, str] = {}
    wanted = one_of("video_id", sorted(set(video_ids)))
    rows = project.store.read("sources", wanted, ["uri", "video_id", "ingest_batch", "state"])
    for row in sorted(rows, key=lambda row: (row["state"] != "present", row["ingest_batch"], row["uri"])):
        names.setdefault(row["video_id"], Path(row["uri"]).name)
    return names


def _from_limit(found: tuple[Row, Row]) -> float:
    value, limit = found[1]["value"], found[1]["limit"]
    return float("inf") if value is None else abs(value - limit)


def _reason(failure: Mapping[str, Any]) -> str:
    rule = failure["rule"]
    if failure["value"] is None:
        return f"✗ {rule}"
    return f"✗ {rule}: {failure['value']:.3g}, {_OPS.get(rule, '')} {failure['limit']:.3g}"


_UNMEASURED = "not measured"


def _panel_of(failure: Mapping[str, Any]) -> str:
    return _UNMEASURED if failure["value"] is None else failure["rule"]


def _by_panel(failures: Iterable[Row]) -> list[Row]:
    """The failures of a clip, of those that were not measured the first alone."""
    return list({_panel_of(failure): failure for failure in reversed(list(failures))}.values())


def _limit(failure: Mapping[str, Any]) -> str:
    return "" if failure["value"] is None else f" {_OPS.get(failure['rule'], '')} {failure['limit']:.4g}"


def _value(failure: Mapping[str, Any]) -> str:
    return f"✗ {failure['rule'].partition(':')[2]}" if failure["value"] is None else f"✗ {failure['value']:.4g}"


def _first(shown: int, total: int) -> str:
    return f", the first {shown}" if shown < total else ""


def _funnel(project: Project, batch: str | None) -> bytes:
    """What each step leaves, in files or clips and in hours of video."""
    from vid_assets.views.plots import funnel

    store, here, where = project.store, set(presence(project.store, batch)), equals("ingest_batch", batch)
    videos = [
        row for row in store.read("videos", where, ["video_id", "status", "duration_s"]) if row["video_id"] in here
    ]
    columns = ["clip_id", "video_id", "start_s", "end_s"]
    clips = [row for row in store.read("clips", where, columns) if row["video_id"] in here]
    accepted = {row["clip_id"] for row in store.read("verdicts", where + " AND accepted", ["clip_id"])}
    kept = [row for row in clips if row["clip_id"] in accepted]
    steps = [
        ("files", len(videos), sum(row["duration_s"] or 0 for row in videos) / 3600),
        ("readable", *_readable(videos)),
        ("clips", len(clips), _hours(clips)),
        ("kept by the rules", len(kept), _hours(kept)),
    ]
    if batch is None:
        lost = {row["clip_id"] for row in store.read("duplicates", columns=["clip_id"])}
        unique = [row for row in kept if row["clip_id"] not in lost]
        steps.append(("without duplicates", len(unique), _hours(unique)))
    return funnel(steps)


def _readable(videos: Iterable[Row]) -> tuple[int, float]:
    good = [row for row in videos if row["status"] == "ok"]
    return len(good), sum(row["duration_s"] or 0 for row in good) / 3600


def _hours(clips: Iterable[Row]) -> float:
    return sum(row["end_s"] - row["start_s"] for row in clips) / 3600


def _pairs(project: Project) -> bytes:
    """Each clip that lost, left, with the one that it lost to, right; the first of them."""
    from vid_assets.views.sheets import contact_sheet

    found = project.store.read("duplicates")
    shown = found[: _KEPT_SHOWN // 2]
    ids = sorted({one for row in shown for one in (row["clip_id"], row["duplicate_of"])})
    clips = {row["clip_id"]: row for row in project.store.read("clips", one_of("clip_id", ids))}
    show = _Pictures(project, (clip["video_id"] for clip in clips.values()))
    tiles = []
    for row in shown:
        loser, winner = clips.get(row["clip_id"]), clips.get(row["duplicate_of"])
        if loser and winner:
            tiles.append(show.tile(loser, [f"✗ {row['kind']}, {row['distance']} bits"]))
            tiles.append(show.tile(winner, ["✓ stays"]))
    title = f"clips that lost to a better copy: {len(found)}" + _first(len(tiles) // 2, len(found))
    return contact_sheet(tiles, columns=4, title=title, most=len(tiles) or 1)
