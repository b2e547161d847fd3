"""`vid-assets tune`, `calibrate` and `why`: what they predict is what a run then does, and no video is opened."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from vid_assets.cli import main
from vid_assets.config.file import load_config
from vid_assets_tests.harness import Home


def fill(made: Home, clips: Path) -> Home:
    """Bring a home up to date: three videos, a still, a worse copy that loses to `one`, and a file that is no video."""
    for name in ("one.mp4", "two.mp4", "three.mp4", "one_worse.mp4", "still.png"):
        shutil.copyfile(clips / name, made.footage / name)
        (made.footage / name).with_suffix(".txt").write_text(f"this is {name}")
    (made.footage / "broken.mp4").write_bytes(b"no video at all" * 50)
    made.run()
    return made


@pytest.fixture(scope="module")
def filled(tmp_path_factory, models, clips) -> Iterator[Home]:
    """A home for tests that change no more than its configuration file."""
    made = fill(Home(tmp_path_factory.mktemp("commands") / "home", models), clips)
    made.materialize(["training_set/short"])
    yield made
    made.instance.dispose()


@pytest.fixture
def own(home, clips) -> Home:
    """Such a home for one test alone."""
    return fill(home(), clips)


class Command:
    """Runs `vid-assets ARGUMENTS` on a home and gives what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, made: Home, *arguments: str, code: int = 0) -> str:
        environment = made.environment()
        for name in ("VID_ASSETS_HOME", "VID_ASSETS_CONFIG", "DAGSTER_HOME"):
            self._monkeypatch.setenv(name, environment[name])
        return self.again(*arguments, code=code)

    def again(self, *arguments: str, code: int = 0) -> str:
        """In the environment as it is."""
        self._capsys.readouterr()
        assert main(arguments) == code
        shown = self._capsys.readouterr()
        return shown.err if code else shown.out


@pytest.fixture
def command(monkeypatch, capsys) -> Command:
    return Command(monkeypatch, capsys)


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
def test_tune_tells_what_a_run_then_does(own, command, what):
    value = {"sharpness_min": sharpness_between(own), "duplicates.max_distance": 0, "windows.motion_share_min": 1}
    section, _, key = what.rpartition(".")
    before = kept(own)
    predicted = json.loads(command(own, "tune", f"{what}={value[what]}", "--json"))
    own.change(**{section or "policy": {key: value[what]}})
    counts = own.run()
    flips = {flip["clip_id"]: flip["kept"] for flip in predicted["flips"]}
    assert {clip_id for clip_id, gained in flips.items() if gained} == kept(own) - before
    assert {clip_id for clip_id, gained in flips.items() if not gained} == before - kept(own)
    assert (predicted["gained"], predicted["lost"]) == (len(kept(own) - before), len(before - kept(own)))
    assert predicted["after"]["clips"] + predicted["after"]["stills"] == len(kept(own))
    assert predicted["windows"] == len(own.rows("samples"))
    assert predicted["latents_to_compute"] == counts.get("latents[b00001]", 0)


def test_tune_says_it_in_words(filled, command):
    shown = command(filled, "tune", f"sharpness_min={sharpness_between(filled)}", "luma_max=off")
    assert "sharpness_min: 1 -> " in shown and "luma_max: 180 -> off" in shown
    assert "+0 -" in shown and "sharpness_min" in shown.split("reason")[1]
    assert len(filled.rows("verdicts")) == 5 and all(row["accepted"] for row in filled.rows("verdicts"))


def test_no_command_opens_the_footage(own, command):
    for path in own.footage.iterdir():
        path.unlink()
    assert "no clip would flip" in command(own, "tune", "luma_min=19")
    assert "sharpness_min" in command(own, "calibrate", "sharpness_min")
    assert "KEPT" in command(own, "why", "one.mp4")


def test_tune_shows_examples(filled, command):
    shown = command(filled, "tune", "luma_min=255", "luma_max=255")
    sheet = Path(shown.split("examples: ")[1].strip())
    assert sheet.read_bytes()[:2] == b"\xff\xd8"
    assert "luma_min" in shown and "latents 0 to compute for 0 windows" in shown


def test_tune_writes_the_values_that_it_was_given(filled, command):
    command(filled, "tune", "luma_min=21.5", "flicker_max=off", "--write")
    written = load_config(os.environ["VID_ASSETS_CONFIG"])
    assert (written.policy.luma_min, written.policy.flicker_max) == (21.5, None)


def test_tune_refuses_what_is_no_rule(filled, command):
    assert "did you mean 'luma_min'" in command(filled, "tune", "luma_mim=3", code=2)


def test_calibrate_proposes_what_rejects_the_share_that_was_asked_for(filled, command):
    record = json.loads(command(filled, "calibrate", "sharpness_min", "--reject", "40", "--json"))
    values = sorted(row["sharpness"] for row in video_clips(filled).values() if row["accepted"])
    assert record["clips"] == len(values)
    assert record["proposed"] <= values[2] and record["rejected_then"] in (1, 2)
    assert record["percentiles"]["50"] == pytest.approx(values[len(values) // 2], rel=0.2)
    shown = command(filled, "calibrate", "sharpness_min", "--reject", "40", "--write")
    assert "written to" in shown
    assert load_config(os.environ["VID_ASSETS_CONFIG"]).policy.sharpness_min == record["proposed"]


def test_calibrate_never_writes_into_the_presets(filled, command, monkeypatch):
    command(filled, "calibrate", "sharpness_min")
    monkeypatch.delenv("VID_ASSETS_CONFIG")
    assert "copy it" in command.again("calibrate", "sharpness_min", "--write", code=2)


def test_why_shows_scores_against_their_limits_and_what_used_the_clip(filled, command):
    shown = command(filled, "why", "one.mp4")
    clip_id = video_clips(filled)["one.mp4"]["clip_id"]
    for words in (clip_id, "KEPT", "✓ sharpness_min", ">= 1", "5x32x48@8: ", "with a latent", "training_set/short"):
        assert words in shown
    assert command(filled, "why", clip_id[:8]) == shown
    assert str(filled.footage / "one.mp4") in shown


def test_why_names_the_winner_and_the_failing_rules(own, command):
    winner = video_clips(own)["one.mp4"]["clip_id"]
    shown = command(own, "why", "one_worse.mp4")
    assert "LOST to the better copy" in shown and winner[:12] in shown
    own.change(policy={"luma_min": 254, "luma_max": 255})
    assert "REJECTED by luma_min (by the configuration as it is now" in command(own, "why", "two.mp4")
    own.run()
    shown = command(own, "why", "two.mp4")
    assert "REJECTED by luma_min" in shown and "✗ luma_min" in shown


def test_why_explains_a_file_without_clips(filled, command):
    shown = command(filled, "why", "broken.mp4")
    assert "not used: " in shown and "broken.mp4" in shown
    assert "no clip_id begins so" in command(filled, "why", "nowhere.mp4", code=2)


def test_why_at_a_moment(filled, command):
    assert video_clips(filled)["two.mp4"]["clip_id"] in command(filled, "why", "two.mp4@1.0")
    shown = command(filled, "why", "two.mp4@99")
    assert "no clip at 99 s: the file has frames at 0.000-2.417 s" in shown


def test_why_at_a_moment_of_a_file_that_does_not_decode(own, command):
    Image.new("L", (30_000, 3_500)).save(own.footage / "wide.png", compress_level=1)
    own.change(decoding={"memory_gb": 0.5})
    own.scan()
    own.materialize(["raw_videos", "frame_stats", "clips"], "b00002")
    assert "no clip: reading it takes more memory" in command(own, "why", "wide.png@1")


def test_a_rule_that_is_off_stays_off_unless_it_is_asked_for(own, command):
    own.change(policy={"sharpness_min": None})
    command(own, "calibrate", "--write")
    written = load_config(os.environ["VID_ASSETS_CONFIG"]).policy
    assert written.sharpness_min is None and written.flicker_max != own.project.config.policy.flicker_max
    command.again("calibrate", "sharpness_min", "--write")
    assert load_config(os.environ["VID_ASSETS_CONFIG"]).policy.sharpness_min is not None


def test_pictures_show_what_is_there_now(own):
    pictures = own.folder / "home" / "views" / "b00001"
    before = {path.name: path.read_bytes() for path in pictures.glob("[!.]*")}
    assert set(before) == {"funnel.png", "kept_clips.jpg", "rejected_clips.jpg", "scores.png"}
    (own.footage / "two.mp4").unlink()
    own.run()
    after = {path.name: path.read_bytes() for path in pictures.glob("[!.]*")}
    assert after["kept_clips.jpg"] != before["kept_clips.jpg"] and after["funnel.png"] != before["funnel.png"]
    (pictures / "kept_clips.jpg").write_bytes(before["kept_clips.jpg"])
    (pictures / ".shown").write_text("of something else")  # as a run leaves it that was killed while it drew
    own.run()
    assert (pictures / "kept_clips.jpg").read_bytes() == after["kept_clips.jpg"]
