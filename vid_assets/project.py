"""One home with its configuration: what every asset, the sensors and the command line work on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vid_assets.config import Config
from vid_assets.config.file import home, load_config

if TYPE_CHECKING:
    from vid_assets.store.state import StateFolder
    from vid_assets.store.tables import Store


@dataclass(frozen=True)
class Project:
    """The configuration, and the home (tables, states, checkpoints, views) that it is used with."""

    config: Config
    home: str

    @classmethod
    def from_environment(cls) -> Project:
        """The project that `VID_ASSETS_CONFIG` and `VID_ASSETS_HOME` name. Raises `ConfigError`."""
        return cls(load_config(), home())

    @cached_property
    def local(self) -> Path:
        """The local folder of the home: itself, or the one beside a home in an object store."""
        from vid_assets.store.place import local_folder

        return local_folder(self.home)

    @cached_property
    def store(self) -> Store:
        """The LanceDB tables."""
        from vid_assets.store.tables import Store

        return Store(self.home)

    @cached_property
    def states(self) -> StateFolder:
        """The states of finished asset partitions."""
        from vid_assets.store.state import StateFolder

        return StateFolder(self.home)

    def folder(self, *parts: str) -> Path:
        """A folder below the local folder of the home, created where it does not exist."""
        path = self.local.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path
