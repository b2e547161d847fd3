"""A small finished home that the former release made, as an archive, and how it is unpacked and looked at.

Its footage lies in fsspec's memory, so that it has the same uris and versions wherever the home is unpacked. The VAE
comes with the code and is not in the archive. `make` freezes the home of the present release for the next one.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec

from vid_assets.assets import assets_of
from vid_assets.config.file import load_config
from vid_assets.orchestration.assets import build_assets
from vid_assets.project import Project
from vid_assets.reports.staleness import partitions_of

ARCHIVE = Path(__file__).parent / "former_home.tar.xz"
FOOTAGE = "/former"
#: Parts of a home that hold data. Pictures, plans, locks and memos come and go.
_DATA = ("lancedb", "state", "checkpoints", "evaluations")


class _Written(float):
    """When a file in memory was written: `find` tells its timestamp, `info` the thing itself. Here they are one."""

    def timestamp(self) -> float:
        return float(self)


@contextmanager
def footage_in_memory(folder: Path, created: float) -> Iterator[None]:
    """The files of `folder` as `memory://former/...`, written at `created`, which is their version in a listing."""
    fs = fsspec.filesystem("memory")
    for path in sorted(folder.iterdir()):
        fs.pipe_file(f"{FOOTAGE}/{path.name}", path.read_bytes())
        fs.store[f"{FOOTAGE}/{path.name}"].created = _Written(created)
    try:
        yield
    finally:
        fs.rm(FOOTAGE, recursive=True)


@contextmanager
def restored(folder: Path) -> Iterator[Project]:
    """The project of the archive, unpacked into `folder`, with its footage in memory."""
    from model.tiny.models import save_tiny_vae

    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    save_tiny_vae(folder / "models" / "vae")
    with footage_in_memory(folder / "footage", recorded(folder)["created"]):
        yield project_in(folder)


def recorded(folder: Path) -> dict[str, Any]:
    """What the archive says of itself: `created` of the footage, `assets` in order, `decoders`, `commit`."""
    return json.loads((folder / "former.json").read_text(encoding="utf-8"))


def project_in(folder: Path) -> Project:
    """The project as the configuration in `folder` has it now."""
    return Project(load_config(folder / "config.yaml"), str(folder / "home"))


def materialize_all(project: Project, pipes: Any) -> dict[str, dict[str, Any]]:
    """Materialize every partition of every asset, inputs first; the metadata of each, by its name."""
    found = {}
    definitions = build_assets(project)
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in assets_of(project.config).values():
            for partition in partitions_of(project, asset):
                result = dg.materialize(
                    definitions,
                    selection=[dg.AssetKey(asset.name.split("/"))],
                    partition_key=partition,
                    instance=instance,
                    resources={"project": project, "pipes": pipes},
                )
                (event,) = result.get_asset_materialization_events()
                made = event.step_materialization_data.materialization
                name = f"{asset.name}[{partition}]" if partition else asset.name
                found[name] = {key: value.value for key, value in made.metadata.items()}
    return found


def content(home: Path) -> dict[str, str]:
    """The hash of every file of a home that holds data, by its path."""
    files = (path for part in _DATA for path in (home / part).rglob("*") if path.is_file())
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix != ".lock" and "state/weights" not in str(path)
    }
