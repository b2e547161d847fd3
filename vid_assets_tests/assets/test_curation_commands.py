"""`vid-assets tune`, `calibrate` and `why`: what they predict is what a run then does, and no video is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vid_assets.cli import main
from vid_assets.config_file import load_config
from vid_assets_tests.harness import Home


@pytest.fixture
def filled(home, put) -> Home:
    """A home that is up to date: three videos, a still, and a worse copy that loses to `one`."""
    made = home()
    for name in ("one.mp4", "two.mp4", "three.mp4", "one_worse.mp4", "still.png"):
        put(made, name, caption=f"this is {name}")
    (made.footage / "broken.mp4").write_bytes(b"no video at all" * 50)
    made.run()
    return made


@pytest.fixture
def command(filled, monkeypatch, capsys) -> Callable[..., str]:
    """Runs `vid-assets ARGUMENTS` on the home and gives what it printed."""
    environment = filled.environment()
    for name in ("VID_ASSETS_HOME", "VID_ASSETS_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(name, environment[name])

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == code
        shown = capsys.readouterr()
        return shown.out if not code else shown.err

    return run


def video_clips(made: Home) -> dict[str, dict]:
    """File name -> its only clip with its scores and verdict."""
    names = {row["video_id"]: Path(row["uri"]).name for row in made.rows("sources")}
    scores = {row["clip_id"]: row for row in made.rows("clip_scores")}
    verdicts = {row["clip_id"]: row for row in made.rows("verdicts")}
    return {
        names[row["video_id"]]: row | scores[row["clip_id"]] | verdicts[row["clip_id"]] for row in made.rows("clips")
    }


def kept(made: Home) -> set[str]:
    """The clips that are kept by the rules and lost to none."""
    lost = {row["clip_id"] for row in made.rows("duplicates")}
    return {row["clip_id"] for row in made.rows("verdicts") if row["accepted"]} - lost


def sharpness_between(made: Home) -> float:
    """A limit that some of the videos keep and some do not."""
    values = sorted(video_clips(made)[name]["sharpness"] for name in ("one.mp4", "two.mp4", "three.mp4"))
    return round((values[0] + values[1]) / 2, 3)


@pytest.mark.parametrize("what", ["sharpness_min", "duplicates.max_distance", "windows.motion_share_min"])
def test_tune_tells_what_a_run_then_does(filled, command, what):
    value = {"sharpness_min": sharpness_between(filled), "duplicates.max_distance": 0, "windows.motion_share_min": 1}
    section, _, key = what.rpartition(".")
    before = kept(filled)
    predicted = json.loads(command("tune", f"{what}={value[what]}", "--json"))
    filled.change(**{section or "policy": {key: value[what]}})
    counts = filled.run()
    flips = {flip["clip_id"]: flip["kept"] for flip in predicted["flips"]}
    assert {clip_id for clip_id, gained in flips.items() if gained} == kept(filled) - before
    assert {clip_id for clip_id, gained in flips.items() if not gained} == before - kept(filled)
    assert (predicted["gained"], predicted["lost"]) == (len(kept(filled) - before), len(before - kept(filled)))
    assert predicted["after"]["clips"] + predicted["after"]["stills"] == len(kept(filled))
    assert predicted["windows"] == len(filled.rows("samples"))
    assert predicted["latents_to_compute"] == counts.get("latents[b00001]", 0)


def test_tune_says_it_in_words(filled, command):
    shown = command("tune", f"sharpness_min={sharpness_between(filled)}", "luma_max=off")
    assert "sharpness_min: 1 -> " in shown and "luma_max: 180 -> off" in shown
    assert "+0 -" in shown and "sharpness_min" in shown.split("reason")[1]
    assert len(filled.rows("verdicts")) == 5 and all(row["accepted"] for row in filled.rows("verdicts"))


def test_no_command_opens_the_footage(filled, command):
    for path in filled.footage.iterdir():
        path.unlink()
    assert "no clip would flip" in command("tune", "luma_min=19")
    assert "sharpness_min" in command("calibrate", "sharpness_min")
    assert "KEPT" in command("why", "one.mp4")


def test_tune_shows_examples(filled, command):
    shown = command("tune", "luma_min=255", "luma_max=255")
    sheet = Path(shown.split("examples: ")[1].strip())
    assert sheet.read_bytes()[:2] == b"\xff\xd8"
    assert "luma_min" in shown and "latents 0 to compute for 0 windows" in shown


def test_tune_writes_the_values_that_it_was_given(filled, command):
    command("tune", "luma_min=21.5", "flicker_max=off", "--write")
    written = load_config(os.environ["VID_ASSETS_CONFIG"])
    assert (written.policy.luma_min, written.policy.flicker_max) == (21.5, None)


def test_tune_refuses_what_is_no_rule(command):
    assert "did you mean 'luma_min'" in command("tune", "luma_mim=3", code=2)


def test_calibrate_proposes_what_rejects_the_share_that_was_asked_for(filled, command):
    record = json.loads(command("calibrate", "sharpness_min", "--reject", "40", "--json"))
    values = sorted(row["sharpness"] for row in video_clips(filled).values() if row["accepted"])
    assert record["clips"] == len(values)
    assert record["proposed"] <= values[2] and record["rejected_then"] in (1, 2)
    assert record["percentiles"]["50"] == pytest.approx(values[len(values) // 2], rel=0.2)
    shown = command("calibrate", "sharpness_min", "--reject", "40", "--write")
    assert "written to" in shown
    assert load_config(os.environ["VID_ASSETS_CONFIG"]).policy.sharpness_min == record["proposed"]


def test_calibrate_never_writes_into_the_presets(command, monkeypatch):
    monkeypatch.delenv("VID_ASSETS_CONFIG")
    assert "copy it" in command("calibrate", "sharpness_min", "--write", code=2)


def test_why_shows_scores_against_their_limits_and_what_used_the_clip(filled, command):
    filled.materialize(["training_set/short"])
    shown = command("why", "one.mp4")
    clip_id = video_clips(filled)["one.mp4"]["clip_id"]
    for words in (clip_id, "KEPT", "✓ sharpness_min", ">= 1", "5x32x48@8: ", "with a latent", "training_set/short"):
        assert words in shown
    assert command("why", clip_id[:8]) == shown
    assert str(filled.footage / "one.mp4") in shown


def test_why_names_the_winner_and_the_failing_rules(filled, command):
    winner = video_clips(filled)["one.mp4"]["clip_id"]
    shown = command("why", "one_worse.mp4")
    assert "LOST to the better copy" in shown and winner[:12] in shown
    filled.change(policy={"luma_min": 254, "luma_max": 255})
    filled.environment()  # writes the configuration file
    assert "REJECTED by luma_min (by the configuration as it is now" in command("why", "two.mp4")
    filled.run()
    shown = command("why", "two.mp4")
    assert "REJECTED by luma_min" in shown and "✗ luma_min" in shown


def test_why_explains_a_file_without_clips(filled, command):
    shown = command("why", "broken.mp4")
    assert "not used: " in shown and "broken.mp4" in shown
    assert "no clip_id begins so" in command("why", "nowhere.mp4", code=2)


def test_why_at_a_moment(filled, command):
    assert video_clips(filled)["two.mp4"]["clip_id"] in command("why", "two.mp4@1.0")
    assert "no clip at 99 s" in command("why", "two.mp4@99")
