"""What a person sees in the web UI after a batch was materialized: the graph, the pictures, the numbers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from vid_assets_tests.e2e.browsing import CHROMIUM
from vid_assets_tests.e2e.processes import Process, started
from vid_assets_tests.harness import CURATION, REPO

#: A browser that works takes some 20 s; one that hangs is ended, and another one is tried, so often.
_BROWSE_S, _BROWSERS = 240, 2


@pytest.fixture
def address(home, put) -> Iterator[str]:
    """The address of the web UI of a home with one batch, curated through the command line."""
    pytest.importorskip("playwright", reason="the web UI test needs playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"the web UI test needs a browser at {CHROMIUM} (Debian: apt-get install chromium)")
    made = home(policy={"duration_min": 3.0})
    put(made, "one.mp4", caption="moving shapes")
    put(made, "still.png")
    (made.footage / "broken.mp4").write_bytes(b"")
    materialize = ("dagster", "asset", "materialize", "-m", "vid_assets.definitions", "--select")
    made.cli(*materialize, "source_files")
    made.cli(*materialize, ",".join(CURATION[:5]), "--partition", "b00001")
    port = _free_port()
    arguments = ["-m", "dagster_webserver", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--workspace", str(REPO / "workspace.yaml")]
    with started(arguments, made.environment(), made.folder, made.folder / "webserver.log") as process:
        at = f"http://127.0.0.1:{port}"
        process.wait_for("the web UI", lambda: _answers(at), 120)
        yield at


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=2) as answer:
            return bool(json.load(answer)["dagster_version"])
    except OSError:
        return False


def _browsed(address: str, folder: Path) -> Process:
    arguments = ["-m", "vid_assets_tests.e2e.browsing", address, str(folder)]
    for _ in range(_BROWSERS):
        with started(arguments, os.environ, REPO, folder / "browser.log", patience_s=5) as process:
            try:
                process.popen.wait(_BROWSE_S)
            except subprocess.TimeoutExpired:
                continue
            return process
    raise AssertionError(f"{_BROWSERS} browsers hung for {_BROWSE_S} s each:\n{process.tail()}")


@pytest.mark.slow
def test_the_asset_page_shows_contact_sheets_and_counts_and_the_graph_shows_the_groups(address, tmp_path):
    process = _browsed(address, tmp_path)
    assert process.popen.returncode == 0, process.tail()
    assert {"partition.png", "kept clips.png", "graph.png", "automation.png"} <= {p.name for p in tmp_path.iterdir()}
