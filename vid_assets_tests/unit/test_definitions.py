"""The definitions: light to import, documented, and with the asset graph that the project promises."""

from __future__ import annotations

import ast
import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vid_assets.assets import assets_of
from vid_assets.config.file import parse_config
from vid_assets.definitions import build_definitions
from vid_assets.orchestration.assets import build_assets
from vid_assets.project import Project
from vid_assets_tests.harness import CONFIG, REPO

HEAVY = (
    *("torch", "diffusers", "transformers", "lancedb", "lance", "pandas", "decord", "cv2", "av"),
    *("PIL", "fsspec", "matplotlib", "scipy"),
)

#: asset -> (partition, group, inputs). [b]: ingest batch, [x]: experiment.
GRAPH: dict[str, tuple[str | None, str, set[str]]] = {
    "source_files": (None, "ingest", set()),
    "raw_videos": ("b", "ingest", {"source_files"}),
    "frame_stats": ("b", "curate", {"raw_videos"}),
    "clips": ("b", "curate", {"raw_videos", "frame_stats"}),
    "clip_scores": ("b", "curate", {"raw_videos", "frame_stats", "clips"}),
    "curated_clips": ("b", "curate", {"clips", "clip_scores"}),
    "duplicates": (None, "curate", {"source_files", "raw_videos", "clip_scores", "curated_clips"}),
    "captions": ("b", "encode", {"source_files", "clips"}),
    "text_embeddings": ("b", "encode", {"captions"}),
    "vae": (None, "encode", set()),
    "latents": (
        "b",
        "encode",
        {
            "source_files", "raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions",
            "duplicates", "vae",
        },
    ),
    "training_set/short": (None, "train", {"source_files", "latents", "text_embeddings"}),
    "checkpoint/short": ("x", "train", {"training_set/short", "vae"}),
    "evaluation/short": ("x", "train", {"training_set/short", "vae", "checkpoint/short"}),
    "training_set/long": (None, "train", {"source_files", "latents", "text_embeddings"}),
    "checkpoint/long": ("x", "train", {"training_set/long", "vae", "checkpoint/short"}),
    "evaluation/long": ("x", "train", {"training_set/long", "vae", "checkpoint/long"}),
}  # fmt: skip
#: Checks that stop what is downstream.
BLOCKING = {
    "raw_videos": {"readable_share"},
    "latents": {"rows_equal_windows", "keys_unique", "latents_shaped", "latents_finite"},
    "checkpoint/short": {"loss_finite"},
    "checkpoint/long": {"loss_finite"},
}


def project_of(folder: Path, **sections: Any) -> Project:
    config = copy.deepcopy(CONFIG) | {"sources": [{"uri": str(folder / "footage")}]} | sections
    return Project(parse_config(config, base=folder), str(folder / "home"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project_of(tmp_path_factory.mktemp("definitions"))


@pytest.fixture(scope="module")
def definitions(project: Project) -> dg.Definitions:
    return build_definitions(project)


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {"/".join(spec.key.path): spec for spec in definitions.resolve_all_asset_specs()}


@pytest.mark.parametrize(
    ("module", "heavy"), [("vid_assets.definitions", HEAVY), ("vid_assets.cli", (*HEAVY, "dagster"))]
)
def test_importing_the_definitions_and_the_command_line_loads_nothing_heavy(module, heavy, tmp_path):
    code = f"import {module}, sys; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env={"PATH": "", "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_graph_is_the_one_of_the_design(specs):
    found = {name: {"/".join(dep.asset_key.path) for dep in spec.deps} for name, spec in specs.items()}
    assert found == {name: inputs for name, (_, _, inputs) in GRAPH.items()}


def test_an_image_encoder_adds_its_asset(tmp_path):
    project = project_of(tmp_path, image_encoder={"source": "./clip"})
    specs = {"/".join(spec.key.path): spec for spec in build_definitions(project).resolve_all_asset_specs()}
    assert set(specs) - set(GRAPH) == {"image_embeddings"}
    found = {name: {"/".join(dep.asset_key.path) for dep in spec.deps} for name, spec in specs.items()}
    assert found["image_embeddings"] == {"latents"} and found["latents"] == GRAPH["latents"][2]
    assert found["training_set/long"] == GRAPH["training_set/long"][2] | {"image_embeddings"}
    (sensor,) = [one for one in build_definitions(project).sensors or () if one.name == "new_footage"]
    assert dg.AssetKey("image_embeddings") in sensor.asset_selection.resolve(list(build_assets(project)))


def test_assets_are_partitioned_by_batch_or_by_experiment(specs):
    found: dict[str, str | None] = {}
    for name, spec in specs.items():
        partitions = spec.partitions_def
        if isinstance(partitions, dg.DynamicPartitionsDefinition):
            assert partitions.name == "ingest_batch"
            found[name] = "b"
        elif isinstance(partitions, dg.StaticPartitionsDefinition):
            assert partitions.get_partition_keys() == ["one"]
            found[name] = "x"
        else:
            found[name] = None
    assert found == {name: partition for name, (partition, _, _) in GRAPH.items()}


def test_every_asset_is_described(specs):
    assert {name: spec.group_name for name, spec in specs.items()} == {n: group for n, (_, group, _) in GRAPH.items()}
    for name, spec in specs.items():
        assert len(spec.description or "") > 40, name
        assert spec.kinds, name
        assert spec.code_version, name


def test_blocking_checks(definitions):
    found: dict[str, set[str]] = {}
    for assets in definitions.assets or ():
        for check in assets.check_specs:
            assert check.description, check.name
            if not check.blocking:
                assert check.name in ("captions_read", "reconstruction", "same_frames", "heldout_falls")
                continue
            found.setdefault("/".join(check.asset_key.path), set()).add(check.name)
    assert found == BLOCKING


def test_what_enters_a_fingerprint_is_seen_by_dagster(project):
    """An input of the caching that Dagster does not know as a dependency would never start a run."""
    for name, asset in assets_of(project.config).items():
        assert set(asset.upstream) <= GRAPH[name][2], name
        assert asset.partitions == {"b": "batch", "x": "experiment", None: None}[GRAPH[name][0]]


def test_a_changed_setting_changes_the_code_version_of_its_assets_alone(tmp_path, specs):
    changed = build_definitions(project_of(tmp_path, policy={"luma_min": 7}))
    now = {"/".join(spec.key.path): spec.code_version for spec in changed.resolve_all_asset_specs()}
    assert {name for name in now if now[name] != specs[name].code_version} == {"curated_clips"}


def test_training_is_automatic_only_where_the_config_says_so(tmp_path, specs):
    trained = {name for name in GRAPH if name.split("/")[0] in ("training_set", "checkpoint", "evaluation")}
    without = {"source_files"}
    assert {name for name, spec in specs.items() if spec.automation_condition is None} == trained | without
    automatic = build_definitions(project_of(tmp_path, train={"automatic": True}))
    found = {"/".join(s.key.path) for s in automatic.resolve_all_asset_specs() if s.automation_condition is None}
    assert found == without


def test_another_stage_lengthens_the_chain(tmp_path):
    stages = [*CONFIG["stages"], {"name": "longer", "buckets": ["17x32x48@8"], "steps": 2}]
    found = build_definitions(project_of(tmp_path, stages=stages)).resolve_all_asset_specs()
    by_name = {"/".join(spec.key.path): {"/".join(dep.asset_key.path) for dep in spec.deps} for spec in found}
    assert by_name["checkpoint/longer"] == {"training_set/longer", "vae", "checkpoint/long"}
    assert {name: by_name[name] for name in GRAPH} == {name: inputs for name, (_, _, inputs) in GRAPH.items()}


def test_sensors_and_schedule_are_off_unless_switched_on(tmp_path, definitions):
    repository = definitions.get_repository_def()
    off = {one.name: one.default_status.value for one in [*repository.sensor_defs, *repository.schedule_defs]}
    assert off == {"new_footage": "STOPPED", "follow_changes": "STOPPED", "nightly": "STOPPED"}
    on = build_definitions(project_of(tmp_path, ingest={"watch": True}, schedule={"enabled": True}))
    repository = on.get_repository_def()
    found = {one.name: one.default_status.value for one in [*repository.sensor_defs, *repository.schedule_defs]}
    assert set(found.values()) == {"RUNNING"}


@pytest.mark.parametrize("folder", ["footage", "curation", "encoding", "store", "views", "assets", "home", "reports"])
def test_the_rooms_below_the_assets_know_no_dagster(folder):
    for path in sorted((REPO / "vid_assets" / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] != "dagster", path
                assert not name.startswith("vid_assets.orchestration"), path
