"""What a person clicks through in the web UI: `python -m vid_assets_tests.e2e.browsing ADDRESS FOLDER`.

It is a process apart from the test because a headless browser that hangs does not always honour its own time limits;
a process can be ended. Pictures of what was seen are left in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
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


def _show(page: Any, title: str) -> None:
    """Open a picture of the metadata table; it is there when the browser could decode it."""
    row = page.locator("tr").filter(has=page.get_by_text(title, exact=True))
    row.get_by_text("Show Markdown").click()
    picture = page.get_by_role("dialog").get_by_role("img", name=title)
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200, f"{title}: no picture"


def browse(page: Any, address: str, folder: Path) -> None:
    """The page of an asset with its counts and sheets, the graph with its groups, and the automation."""
    page.goto(f"{address}/assets/curated_clips?view=partitions&partition=b00001")
    facts = {"rows": "2", "hits": "0", "misses": "2", "accepted": "1", "rejected": "1"}
    for name, value in facts.items():
        row = page.locator("tr").filter(has=page.get_by_text(name, exact=True))
        row.get_by_text(value, exact=True).wait_for()
    page.screenshot(path=folder / "partition.png")
    for title in ("kept clips", "rejected clips", "funnel"):
        _show(page, title)
        page.screenshot(path=folder / f"{title}.png")
        page.keyboard.press("Escape")

    page.goto(f"{address}/assets/curated_clips")
    page.get_by_text("The policy's verdict on every clip").wait_for()
    page.get_by_text("follow changes").wait_for()
    page.screenshot(path=folder / "overview.png")

    page.goto(f"{address}/asset-groups")
    for group in ("ingest", "curate", "encode", "train"):
        page.get_by_text(group, exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "graph.png")

    page.goto(f"{address}/locations/vid_assets/asset-groups/curate")
    page.get_by_text("curated_clips", exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "group.png")

    page.goto(f"{address}/automation")
    for name in ("new_footage", "follow_changes", "nightly"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.screenshot(path=folder / "automation.png")


def main(address: str, folder: Path) -> None:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(_PATIENCE_MS)
        # Requests to anywhere but this machine are refused.
        page.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort())
        try:
            browse(page, address, folder)
        except BaseException:
            page.screenshot(path=folder / "last.png", full_page=True)
            raise
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
