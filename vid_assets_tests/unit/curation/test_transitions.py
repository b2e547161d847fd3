"""Shot boundaries on rendered footage whose labels are exact, in the half that no threshold was chosen on."""

import pytest

from benchmarks.labelled.scorer import Score, match_frames, match_overlaps
from benchmarks.labelled.shot_scores import found_in, measured, score
from benchmarks.labelled.transitions import KINDS, render
from vid_assets.curation.miniatures import pack, unpack
from vid_assets.curation.settings import Shots
from vid_assets.curation.shots import find_clips
from vid_assets_tests.unit.footage.rendering import pan


@pytest.mark.parametrize("kind", KINDS)
def test_boundaries_are_found_in_footage_kept_out_of_tuning(kind, tmp_path):
    total, transitions, in_clips = Score(), 0, []
    for fixture in render(tmp_path, [kind], ["held_out"]):
        groups = measured(fixture.path)
        total += score(fixture, *found_in(groups, Shots()))
        times = groups["change"].timestamps
        for clip in find_clips({"kind": "video"}, groups, Shots()):
            for first, last in fixture.transitions:
                if clip.start_s <= times[first] and clip.end_s > times[last]:
                    in_clips.append((fixture.name, first))
        transitions += len(fixture.transitions)
    assert len(in_clips) <= 0.1 * transitions, f"{kind}: clips hold the transitions at {in_clips}"
    assert total.f1 >= 0.95, f"{kind}: precision {total.precision:.3f}, recall {total.recall:.3f}"


def test_matching_is_one_to_one_and_within_the_tolerance():
    assert match_frames([10, 20], [9, 11, 21, 30]) == Score(correct=2, found=4, labelled=2)
    assert match_frames([10], [12]) == Score(correct=0, found=1, labelled=1)
    assert match_frames([], []).f1 == 1.0
    assert match_overlaps([(10, 19)], [(0, 14), (12, 21)], 0.5) == Score(correct=1, found=2, labelled=1)
    assert match_overlaps([(10, 19)], [(10, 12)], 0.5).recall == 0


def test_miniatures_are_kept_exactly():
    from vid_assets.curation.miniatures import miniature

    frames = [miniature(frame) for frame in pan(3, 12, step=20)]
    assert (unpack(pack(frames)) == frames).all()
    assert unpack(pack([])).shape == (0, 9, 16, 3)
