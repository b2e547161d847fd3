"""A small home for tests: its own footage, configuration, tables and Dagster instance, and counts of what was computed.

`Home.run` takes everything through the chain in this process; `Home.cli` runs a command in a process of its own.
Footage is rendered once for each test session (see `conftest.py`) and copied.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from vid_assets import assets
from vid_assets.assets import assets_of
from vid_assets.assets.asset import Work
from vid_assets.config.file import parse_config
from vid_assets.orchestration.assets import build_assets
from vid_assets.orchestration.execution import check_result
from vid_assets.project import Project
from vid_assets.store.cache import Output

REPO = Path(__file__).resolve().parents[1]

#: Limits that suit pictures of 96x64, and everything else as small as it can be.
CONFIG: dict[str, Any] = {
    "batching": {"max_files": 100},
    "ingest": {"settle_s": 0},
    "policy": {"short_side_min": 32, "duration_min": 1.0, "sharpness_min": 1, "fps_min": 10},
    "vae": {"family": "hunyuan_video", "source": "MODELS/tiny-vae", "note": "untrained"},
    "text_encoder": {"family": "t5", "source": "MODELS/tiny-t5", "max_tokens": 64},
    "encoding": {"batch_size": 2, "flush_rows": 2},
    "stages": [
        {"name": "short", "buckets": ["1x32x48", "5x32x48@8"], "image_share": 0.25, "steps": 4, "batch_size": 2},
        {"name": "long", "buckets": ["9x32x48@8"], "steps": 3, "batch_size": 2},
    ],
    "experiments": {"one": {"model": "tiny-dit"}},
    "heldout": {"share": 0.0},
    "evaluation": {"videos": 1, "sampling_steps": 2},
    "train": {"threads": 1},
}
#: The data assets behind `source_files`, in the order in which `Home.run` materializes them, and those of every batch.
DATA = tuple(asset.name for asset in assets.ASSETS[1:])
CURATION, LAST = DATA[: DATA.index("duplicates")], DATA[DATA.index("latents") :]


def work_of(project: Project, name: str, partition: str | None = None, **options: bool) -> Work:
    """An asset partition at work, without Dagster."""
    return assets.work_of(project, name, partition, options=options, progress=lambda line: None)


def run_asset(project: Project, name: str, partition: str | None = None, **options: bool) -> Output:
    """Do an asset's work, without the cache around it."""
    work = work_of(project, name, partition, **options)
    return work.asset.run(work)


def bump(monkeypatch: pytest.MonkeyPatch, name: str, version: str = "bumped") -> None:
    """Give an asset another code version, as another release does."""
    changed = [dataclasses.replace(one, code_version=version) if one.name == name else one for one in assets.ASSETS]
    monkeypatch.setattr(assets, "ASSETS", tuple(changed))


def checks_of(work: Work, output: Output) -> dict[str, dg.AssetCheckResult]:
    """What an asset's checks say of an output, by name, as Dagster shows it."""
    return {check.name: check_result(check, check.judge(work, output)) for check in work.asset.checks}


class InProcessTraining:
    """Stands in for the Pipes client: runs `model.train` in this process, which saves its imports."""

    def run(self, *, context: Any, command: Sequence[str]) -> Any:
        from model.train import main

        arguments = list(command[command.index("model.train") + 1 :])
        for option in ("--report", "--parent-pid"):
            index = arguments.index(option)
            del arguments[index : index + 2]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            code = main(arguments)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if code:
            raise RuntimeError(f"model.train ended with exit code {code}")
        return self


class Home:
    """A home below `folder`, with the models of `models`; `config` updates `CONFIG`, section by section."""

    def __init__(self, folder: Path, models: Path, **config: Any) -> None:
        self.folder = folder
        self.footage = folder / "footage"
        self.footage.mkdir(parents=True)
        self.models = models
        if models.is_dir():  # a plan of memory takes seconds, and is the same in every home
            (models / "plans").mkdir(exist_ok=True)
            (folder / "home").mkdir()
            (folder / "home" / "plans").symlink_to(models / "plans")
        self.config = copy.deepcopy(CONFIG) | {"sources": [{"uri": str(self.footage)}]}
        self.change(**config)
        self.instance = dg.DagsterInstance.ephemeral()
        self.pipes: Any = InProcessTraining()

    def change(self, **sections: Any) -> None:
        """Change the configuration: a mapping updates its section, anything else replaces it."""
        for name, value in sections.items():
            old = self.config.get(name)
            self.config[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value

    def stage(self, name: str) -> dict[str, Any]:
        """The configuration of a stage, to be changed in place."""
        return next(stage for stage in self.config["stages"] if stage["name"] == name)

    @property
    def project(self) -> Project:
        """The project as it is configured now."""
        text = yaml.safe_dump(self.config).replace("MODELS", str(self.models))
        return Project(parse_config(yaml.safe_load(text), base=self.folder), str(self.folder / "home"))

    def materialize(
        self,
        assets: Iterable[str],
        partition: str | None = None,
        run_config: dict[str, Any] | None = None,
        fail: bool = False,
    ) -> dict[str, int]:
        """Materialize in this process; how many rows were computed, by `asset` or `asset[partition]`."""
        project = self.project
        result = dg.materialize(
            build_assets(project),
            selection=[dg.AssetKey(name.split("/")) for name in assets],
            partition_key=partition,
            instance=self.instance,
            resources={"project": project, "pipes": self.pipes},
            run_config=run_config,
            raise_on_error=not fail,
        )
        counts = {}
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            name = "/".join(made.asset_key.path)
            where = f"{name}[{made.partition}]" if made.partition else name
            counts[where] = made.metadata["misses"].value
            self.metadata[where] = {key: value.value for key, value in made.metadata.items()}
            self.versions[where] = made.tags["dagster/data_version"]
        return counts

    @property
    def metadata(self) -> dict[str, dict[str, Any]]:
        """The metadata of the last materialization of each asset partition."""
        return self.__dict__.setdefault("_metadata", {})

    @property
    def versions(self) -> dict[str, str]:
        """The data version of the last materialization of each asset partition."""
        return self.__dict__.setdefault("_versions", {})

    def batches(self) -> list[str]:
        """The ingest batches that are registered."""
        return sorted(self.instance.get_dynamic_partitions("ingest_batch"))

    def scan(self, confirm: bool = False) -> dict[str, int]:
        """Materialize `source_files`."""
        config = {"ops": {"source_files": {"config": {"confirm": confirm}}}}
        return self.materialize(["source_files"], run_config=config)

    def run(self, training: bool = False, confirm: bool = False) -> dict[str, int]:
        """Everything in order, whether it is stale or not; the counts that are not 0."""
        counts = self.scan(confirm)
        for batch in self.batches():
            counts |= self.materialize(CURATION, batch)
        counts |= self.materialize(["duplicates", "vae"])
        for batch in self.batches():
            counts |= self.materialize([name for name in LAST if name in assets_of(self.project.config)], batch)
        if training:
            stages = [stage["name"] for stage in self.config["stages"]]
            counts |= self.materialize([f"training_set/{name}" for name in stages])
            chain = [f"{what}/{name}" for name in stages for what in ("checkpoint", "evaluation")]
            for experiment in self.config["experiments"]:
                counts |= self.materialize(chain, experiment)
        return {name: count for name, count in counts.items() if count}

    def rows(self, table: str, where: str = "true") -> list[dict[str, Any]]:
        """The rows of a table."""
        return self.project.store.read(table, where)

    def environment(self) -> dict[str, str]:
        """The environment for a process that works on this home. Writes the configuration file."""
        dagster_home = self.folder / "dagster_home"
        dagster_home.mkdir(exist_ok=True)
        shutil.copy(REPO / "dagster.yaml", dagster_home)
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config).replace("MODELS", str(self.models)), encoding="utf-8")
        return os.environ | {
            "DAGSTER_HOME": str(dagster_home),
            "VID_ASSETS_HOME": str(self.folder / "home"),
            "VID_ASSETS_CONFIG": str(path),
            "PYTHONPATH": str(REPO),
        }

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m ARGUMENTS` on this home, such as `cli("dagster", "asset", "materialize", ...)`."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done
