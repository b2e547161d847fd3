"""What a person sees in the web UI after a batch was materialized: the graph, the pictures, the numbers."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vid_assets.launching import CURATION
from vid_assets_tests.e2e.processes import Process, started
from vid_assets_tests.harness import REPO, Home

_CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
]
_PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window, that reaches nothing but this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the web UI test needs playwright")
    if not _CHROMIUM.exists():
        pytest.skip(f"the web UI test needs a browser at {_CHROMIUM} (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(_CHROMIUM), args=_ARGUMENTS)
        yield made
        made.close()


@pytest.fixture
def served(browser, home, put) -> Iterator[tuple[Home, str]]:
    """A home with one batch, curated through the command line, and the address of its web UI."""
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
        address = f"http://127.0.0.1:{port}"
        process.wait_for("the web UI", lambda: _answers(address, process), 120)
        yield made, address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str, process: Process) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=2) as answer:
            return bool(json.load(answer)["dagster_version"])
    except OSError:
        return False


@pytest.fixture
def page(browser, served, tmp_path) -> Iterator[Any]:
    """A page that is wide enough to see the graph; requests to anywhere else are refused, and a picture is kept."""
    made = browser.new_page(viewport={"width": 1600, "height": 1400})
    _, address = served
    made.set_default_timeout(_PATIENCE_MS)
    made.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort())
    yield made
    made.screenshot(path=tmp_path / "last.png", full_page=True)
    made.close()


def _show(page: Any, title: str) -> Any:
    """Open a picture of the metadata table; it is there when the browser could decode it."""
    row = page.locator("tr").filter(has=page.get_by_text(title, exact=True))
    row.get_by_text("Show Markdown").click()
    picture = page.get_by_role("dialog").get_by_role("img", name=title)
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200
    return picture


@pytest.mark.slow
def test_the_asset_page_shows_contact_sheets_and_counts_and_the_graph_shows_the_groups(served, page, tmp_path):
    _, address = served

    page.goto(f"{address}/assets/curated_clips?view=partitions&partition=b00001")
    facts = {"rows": "2", "hits": "0", "misses": "2", "accepted": "1", "rejected": "1"}
    for name, value in facts.items():
        row = page.locator("tr").filter(has=page.get_by_text(name, exact=True))
        row.get_by_text(value, exact=True).wait_for()
    page.screenshot(path=tmp_path / "partition.png")
    for title in ("kept clips", "rejected clips", "funnel"):
        _show(page, title)
        page.screenshot(path=tmp_path / f"{title}.png")
        page.keyboard.press("Escape")

    page.goto(f"{address}/assets/curated_clips")
    page.get_by_text("The policy's verdict on every clip").wait_for()
    page.get_by_text("follow changes").wait_for()
    page.screenshot(path=tmp_path / "overview.png")

    page.goto(f"{address}/asset-groups")
    for group in ("ingest", "curate", "encode", "train"):
        page.get_by_text(group, exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=tmp_path / "graph.png")

    page.goto(f"{address}/locations/vid_assets/asset-groups/curate")
    page.get_by_text("curated_clips", exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=tmp_path / "group.png")

    page.goto(f"{address}/automation")
    for name in ("new_footage", "follow_changes", "nightly"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.screenshot(path=tmp_path / "automation.png")
