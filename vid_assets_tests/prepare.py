"""`make test` runs this first: it installs Chromium and ffmpeg for the tests where that needs no question asked.

That is so for root on a Debian-like system. Elsewhere the tests of the web UI look for a browser that is there, those
of frames for the command `ffmpeg`, which judges what is decoded here; they are skipped without.
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
    """Install what is missing if that is possible; never fails."""
    missing = [name for name, found in (("chromium", find_browser()), ("ffmpeg", shutil.which("ffmpeg"))) if not found]
    if not missing or os.geteuid() != 0 or not shutil.which("apt-get"):
        return 0
    print(f"installing {' and '.join(missing)} for the tests")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    subprocess.run(["apt-get", "update"], **quiet)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    done = subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    if done.returncode:
        print(f"{' and '.join(missing)} could not be installed; the tests that need it will be skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
