"""The command `dg`, which Dagster's own commands call their successor, on this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vid_assets.assets import assets_of
from vid_assets_tests.harness import REPO, Home

pytest.importorskip("dagster_dg_cli", reason="the extra `dg` is not installed")


def dg(made: Home, *arguments: str) -> str:
    """What `dg ARGUMENTS` prints in the project's folder, working on a home."""
    command = [str(Path(sys.executable).parent / "dg"), *arguments]
    done = subprocess.run(
        command, cwd=REPO, env=made.environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr if arguments[0] != "list" else done.stdout


def test_dg_checks_lists_and_launches(home, put):
    made = home()
    put(made, "one.mp4")
    assert "All definitions loaded successfully" in dg(made, "check", "defs")
    listed = json.loads(dg(made, "list", "defs", "--json"))
    assert {one["asset_key"] for one in listed["assets"]} == set(assets_of(made.project.config))
    assert {one["name"] for one in listed["sensors"]} == {"new_footage", "follow_changes"}
    dg(made, "launch", "--assets", "source_files")
    dg(made, "launch", "--assets", "raw_videos,frame_stats", "--partition", "b00001")
    assert [row["status"] for row in made.rows("videos")] == ["ok"]
    assert "frame_stats: cache hit" in dg(made, "launch", "--assets", "frame_stats", "--partition", "b00001")
