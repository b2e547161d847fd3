"""Limits changed from the command line, and written into the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vid_assets.config.changes import changed, parse_changes, write_changes
from vid_assets.config.file import load_config, parse_config
from vid_assets.section import ConfigError

FILE = """\
# my footage
sources:
  - uri: .   # this folder
vae: {source: "tiny"}
stages:
  - name: one
    buckets: [5x96x128@8]
    steps: 3
experiments: {a: {}}

policy: # what is good enough
  luma_min: 30   # dark rooms
  'sharpness_min': 50
"""


def config():
    base = {"sources": [{"uri": "."}], "vae": {"source": "tiny"}, "experiments": {"a": {}}}
    return parse_config(base | {"stages": [{"name": "one", "buckets": ["5x96x128@8"], "steps": 3}]})


def test_a_rule_goes_by_its_name_and_other_limits_by_their_section():
    found = changed(config(), parse_changes(["sharpness_min=80", "policy.luma_min=off", "duplicates.max_distance=4"]))
    assert (found.policy.sharpness_min, found.policy.luma_min, found.duplicates.max_distance) == (80.0, None, 4)
    assert found.policy.luma_max == config().policy.luma_max
    assert found.stages == config().stages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sharpnes_min=80"], "did you mean 'sharpness_min'"),
        (["sharpness_min"], "RULE=VALUE"),
        (["sharpness_min="], "RULE=VALUE"),
        (["luma_min=1", "policy.luma_min=2"], "twice"),
        (["vae.source=other"], "no such rule"),
        (["luma_min=dark"], "policy.luma_min"),
        (["decoded_ratio_min=2"], "less than or equal to 1"),
        (["duplicates.max_distance=99"], "less than or equal to"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_in_words(arguments, words):
    with pytest.raises(ConfigError, match=words):
        changed(config(), parse_changes(arguments))


def test_values_are_written_and_comments_stay(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(FILE)
    file.chmod(0o640)
    write_changes(
        file, {("policy", "luma_min"): 25.5, ("policy", "flicker_max"): None, ("duplicates", "max_distance"): 3}
    )
    written = load_config(file)
    assert (written.policy.luma_min, written.policy.flicker_max, written.duplicates.max_distance) == (25.5, None, 3)
    assert written.policy.sharpness_min == 50
    text = file.read_text()
    for comment in ("# my footage", "# this folder", "# what is good enough", "# dark rooms"):
        assert comment in text
    assert text.splitlines()[:3] == FILE.splitlines()[:3]
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_file_that_would_become_invalid_is_left_as_it_was(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(FILE)
    with pytest.raises(ConfigError):
        write_changes(file, {("policy", "luma_min"): "dark"})
    assert file.read_text() == FILE
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
