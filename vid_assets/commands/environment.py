"""What commands that start Dagster need of the environment."""

from __future__ import annotations

import os
from pathlib import Path

from vid_assets.section import ConfigError


def need_dagster_home() -> None:
    """Runs must be seen in the web UI: without DAGSTER_HOME, Dagster would forget them."""
    if not os.environ.get("DAGSTER_HOME"):
        here = Path.cwd()
        if not (here / "dagster.yaml").is_file():
            raise ConfigError("DAGSTER_HOME is not set; set it to the folder of dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(here)
