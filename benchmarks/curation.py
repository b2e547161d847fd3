"""How well shots and defects are found, on rendered footage with exact labels; run as `python -m benchmarks.curation`.

Belongs here: the shots, beside PySceneDetect's AdaptiveDetector on the same files in the same run, and the printing;
the defects are in `curation_defects`. Of the two halves of the fixtures, thresholds were chosen on `tuning` alone.

AdaptiveDetector knows no transitions. A cut that it reports anywhere in a transition, or a frame beside it, counts as
finding that; ours must report the transition as a stretch, of which more than half is shared with the label. The rows
`left out of clips` hold both to that: a clip that is cut in the middle of a fade still shows half of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import av

from benchmarks import curation_defects
from benchmarks.labelled import Split
from benchmarks.labelled.footage import FOOTAGE, labels
from benchmarks.labelled.scorer import Score, match_frames
from benchmarks.labelled.shot_scores import found_in, measured, score, score_points
from benchmarks.labelled.transitions import KINDS, render
from benchmarks.report import Result, report
from vid_assets.curation.settings import Shots

#: The settings of AdaptiveDetector: the best of a published sweep, and the library's own.
_OTHERS: dict[str, dict[str, Any]] = {
    "AdaptiveDetector 3.5/3/0.6s": {"adaptive_threshold": 3.5, "window_width": 3, "min_scene_len": "0.6s"},
    "AdaptiveDetector default": {},
}


def adaptive(path: Path, settings: dict[str, Any]) -> list[int]:
    """First frames of new shots, by PySceneDetect."""
    from scenedetect import AdaptiveDetector, SceneManager, open_video

    manager = SceneManager()
    manager.add_detector(AdaptiveDetector(**settings))
    video = open_video(str(path), backend="pyav")
    av.logging.set_level(av.logging.PANIC)  # PySceneDetect turns it on; of damaged fixtures decoders say much
    manager.detect_scenes(video)
    return [start.frame_num for start, _ in manager.get_scene_list()[1:]]


def shots(folder: Path) -> list[Result]:
    """One row for each kind of boundary or trap, half and setting of the other detector."""
    rows = []
    for split in get_args(Split):
        for kind in KINDS:
            ours, others, strictly = Score(), dict.fromkeys(_OTHERS, Score()), dict.fromkeys(_OTHERS, Score())
            gradual = False
            for fixture in render(folder, [kind], [split]):
                gradual = gradual or bool(fixture.transitions)
                ours += score(fixture, *found_in(measured(fixture.path), Shots()))
                for name, settings in _OTHERS.items():
                    points = adaptive(fixture.path, settings)
                    others[name] += score_points(fixture.cuts, fixture.transitions, points)
                    strictly[name] += score(fixture, points, [])
            rows += [_row(f"shots: {kind}, {split}", ours, other, name) for name, other in others.items()]
            if gradual:
                case = f"shots: {kind} left out of clips, {split}"
                rows += [_row(case, ours, other, name) for name, other in strictly.items()]
    return rows


def real_cuts() -> list[Result]:
    """Hard cuts of the labelled real footage, and no cut in its single shots, where the footage is at hand."""
    if not FOOTAGE.is_dir():
        return []
    known = labels()
    ours, others = Score(), dict.fromkeys(_OTHERS, Score())
    for path in sorted((FOOTAGE / "video").iterdir()):
        truth = known.get(f"video/{path.name}", {"hard_cuts": []})
        truth = truth.get("stream3", truth)
        ours += match_frames(truth["hard_cuts"], found_in(measured(path), Shots())[0])
        stretches = [tuple(pair) for pairs in truth.get("transitions", {}).values() for pair in pairs]
        for name, settings in _OTHERS.items():
            points = [
                point
                for point in adaptive(path, settings)
                if not any(first - 1 <= point <= last + 1 for first, last in stretches)
            ]
            others[name] += match_frames(truth["hard_cuts"], points)
    return [_row("shots: hard cuts of real footage", ours, other, name) for name, other in others.items()]


def _row(case: str, ours: Score, other: Score, other_name: str) -> Result:
    case = f"{case} (precision {ours.precision:.2f}, recall {ours.recall:.2f}, {ours.labelled} labels)"
    return Result("curation", case, ours.f1, other.f1, other_name, "F1", 1, higher_is_better=True)


def main(arguments: list[str] | None = None) -> int:
    """Run all, and print a table, or with `--json` one object a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curation", description="shots and defects")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the fixtures are rendered, and found again; else temporary")
    options = parser.parse_args(arguments)
    av.logging.set_level(av.logging.PANIC)  # of damaged fixtures, the decoders say much
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        report([*shots(folder), *real_cuts(), *curation_defects.rows(folder)], options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
