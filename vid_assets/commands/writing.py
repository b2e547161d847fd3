"""Writing limits into the configuration file: for `tune` and `calibrate`."""

from __future__ import annotations

from vid_assets.config.changes import Changes, write_changes
from vid_assets.config.file import PRESET_FOLDER, config_path
from vid_assets.section import ConfigError


def write_limits(values: Changes) -> None:
    """Set values in the configuration file of the user; never in the presets that come with the project."""
    path = config_path()
    if path.is_relative_to(PRESET_FOLDER):
        raise ConfigError(
            f"{path} comes with vid_assets; copy it, set VID_ASSETS_CONFIG to the copy, and run this again"
        )
    write_changes(path, values)
    print(f"written to {path}; `vid-assets run` judges the clips again")
