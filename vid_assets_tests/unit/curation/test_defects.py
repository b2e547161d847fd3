"""Every defect is found, and nothing else is, on labelled footage that no limit was chosen on."""

from __future__ import annotations

import pytest

from benchmarks.labelled.defects import render
from benchmarks.labelled.judging import EVENTS, RULES, events, judged, rejections


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return [judged(fixture) for fixture in render(tmp_path_factory.mktemp("defects"), "held_out")]


def test_every_clip_with_a_defect_is_rejected_for_it_and_no_other_clip_is(cases):
    scores = {defect: rejections(cases, defect) for defect in RULES}
    assert all(score.labelled for score in scores.values())
    assert {defect: score for defect, score in scores.items() if score.f1 < 0.95} == {}


def test_the_times_of_every_defect_are_right_to_a_frame(cases):
    scores = {defect: events(cases, defect) for defect in EVENTS}
    assert all(score.labelled for score in scores.values())
    assert {defect: score for defect, score in scores.items() if score.f1 < 0.95} == {}


def test_good_clips_that_tempt_a_measure_are_kept(cases):
    good = [case for case in cases if case.fixture.kind == "clean"]
    assert good and {case.fixture.name: case.broken for case in good if case.broken} == {}
