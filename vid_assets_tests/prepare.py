"""`make test` runs this first: it installs Chromium for the test of the web UI where that needs no question asked.

That is so for root on a Debian-like system. Elsewhere the test looks for a browser that is there, and skips without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The path of a Chromium that Playwright can drive, None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def main() -> int:
    """Install Chromium if that is possible; never fails."""
    if find_browser() or os.geteuid() != 0 or not shutil.which("apt-get"):
        return 0
    print("installing chromium for the test of the web UI")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    subprocess.run(["apt-get", "update"], **quiet)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
    done = subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    if done.returncode:
        print("chromium could not be installed; the test of the web UI will be skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
