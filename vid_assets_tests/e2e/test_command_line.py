"""The real command line on one small home: each asset by name, kills in the middle, and the `vid-assets` command.

A bare launch costs seconds, so one story is played once (`story`) and the tests look at what it left. It makes 15
launches of Dagster, in the order in which a user would make them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest

from vid_assets_tests.harness import Home, work_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the first test waits for the whole story

BATCH = "b00001"
MATERIALIZE = ("dagster", "asset", "materialize", "-m", "vid_assets.definitions", "--select")
#: The assets of a batch that are materialized each alone; the two text assets share a launch.
ALONE = ("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips")
BATCH_ASSETS = (*ALONE, "captions", "text_embeddings")
STEPS = 400
#: Long enough for a loaded machine; what is waited for takes a second or two.
PATIENCE_S = 120.0


@dataclass
class Story:
    """What each chapter left behind, by name."""

    home: Home
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    shown: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def launch(home: Home, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m ARGUMENTS` on a home, its log in a file of the home."""
    log = (home.folder / f"launch-{time.monotonic_ns()}.log").open("w+", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], env=home.environment(), cwd=home.folder, stdout=log, stderr=log, text=True
    )
    process.log = log.name  # type: ignore[attr-defined]
    return process


def log_of(process: subprocess.Popen[str]) -> str:
    return Path(process.log).read_text(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], what: str) -> Any:
    """Wait until `condition` gives something, while the process lives."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode} before {what}:\n{log_of(process)[-6000:]}")
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"waited in vain for {what}:\n{log_of(process)[-6000:]}")


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def materializations(home: Home, *assets: str, partition: str | None = None) -> dict[str, dict[str, Any]]:
    """The metadata of the last materialization of each asset, as the web UI would show it."""
    found = {}
    with dg.DagsterInstance.from_config(str(home.folder / "dagster_home")) as instance:
        for asset in assets:
            filters = dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(asset.split("/")), asset_partitions=[partition] if partition else None
            )
            records = instance.fetch_materializations(filters, limit=1).records
            if records:
                made = records[0].asset_materialization
                found[asset] = {name: value.value for name, value in made.metadata.items()}
                found[asset]["data version"] = made.tags["dagster/data_version"]
    return found


def count(home: Home, table: str) -> int:
    """Rows of a table that another process writes."""
    try:
        return home.project.store.count(table)
    except (OSError, ValueError, RuntimeError):  # between two of its commits
        return 0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, models: Path, clips: Path) -> Iterator[Story]:
    home = Home(
        tmp_path_factory.mktemp("command line"),  # with a space in its path
        models,
        encoding={"batch_size": 1, "flush_rows": 1, "dtype": "float32"},
        ingest={"settle_s": 0},
        stages=[
            {
                "name": "short",
                "buckets": ["1x32x48", "5x32x48@12"],
                "image_share": 0.25,
                "steps": STEPS,
                "batch_size": 1,
                "checkpoint_every": 20,
            }
        ],
    )
    told = Story(home)
    write_footage(home, clips)
    try:
        for chapter in (first_steps, killed_while_encoding, killed_while_training, asked_afterwards):
            chapter(told)
        yield told
    finally:
        home.instance.dispose()


def write_footage(home: Home, clips: Path) -> None:
    from vid_assets.demo import encode, scenes

    long = home.footage / "long.mp4"
    encode.write_video(long, scenes.moving_shapes(20, (96, 64), 12 * 14, 12), 12, "h264")
    long.with_suffix(".txt").write_text("shapes that move for a long time", encoding="utf-8")
    (home.footage / "still.png").write_bytes((clips / "still.png").read_bytes())


def first_steps(told: Story) -> None:
    """Validate, scan, and each asset of the batch up to its texts."""
    home = told.home
    told.done["validate"] = home.cli("dagster", "definitions", "validate", "-m", "vid_assets.definitions", check=False)
    told.done["scan"] = home.cli("vid_assets.cli", "scan", check=False)
    for asset in ALONE:
        told.done[asset] = home.cli(*MATERIALIZE, asset, "--partition", BATCH, check=False)
    told.done["captions"] = home.cli(*MATERIALIZE, "captions,text_embeddings", "--partition", BATCH, check=False)
    told.done["global"] = home.cli(*MATERIALIZE, "duplicates,vae", check=False)
    told.shown["first"] = materializations(home, *BATCH_ASSETS, partition=BATCH)


def killed_while_encoding(told: Story) -> None:
    """SIGKILL after a few latents, and again after a few more, then the whole batch."""
    home = told.home
    for stored in (3, 7):
        process = launch(home, *MATERIALIZE, "latents", "--partition", BATCH)
        wait_for(lambda stored=stored: count(home, "latents") >= stored, process, f"{stored} latents were stored")
        kill(process)
    told.facts["latents at kill"] = {row["sample_id"]: row["checksum"] for row in home.rows("latents")}
    told.facts["said at kill"] = log_of(process)
    told.facts["state at kill"] = home.project.states.read("latents", BATCH)
    told.done["again"] = home.cli(*MATERIALIZE, ",".join((*BATCH_ASSETS, "latents")), "--partition", BATCH, check=False)
    told.shown["again"] = materializations(home, *BATCH_ASSETS, "latents", partition=BATCH)


def killed_while_training(told: Story) -> None:
    """SIGKILL to Dagster in the middle of a training run; its child must notice, save and end. Then again."""
    home = told.home
    process = launch(home, *MATERIALIZE, "training_set/short,checkpoint/short", "--partition", "one")
    folders = home.folder / "home" / "checkpoints" / "one" / "short"
    wait_for(lambda: list(folders.glob("*/step-*/state.json")), process, "the first step folder")
    child = next(one for one in psutil.Process(process.pid).children(recursive=True) if "model.train" in one.cmdline())
    told.facts["saved before"] = newest_step(folders)
    kill(process)
    killed = time.monotonic()
    gone, _ = psutil.wait_procs([child], timeout=PATIENCE_S)
    told.facts["child ended after"] = time.monotonic() - killed if gone else None
    told.facts["saved after"] = newest_step(folders)
    told.facts["orphans"] = orphans(folders)
    arguments = (*MATERIALIZE, "training_set/short,checkpoint/short", "--partition", "one")
    told.done["trained"] = home.cli(*arguments, check=False)
    told.shown["trained"] = materializations(home, "checkpoint/short", partition="one")
    told.facts["finals"] = list(folders.glob("*/final"))


def newest_step(folders: Path) -> int:
    steps = [
        json.loads(path.read_text(encoding="utf-8"))["step"]
        for path in folders.glob("*/step-*/state.json")
        if path.parent.is_dir()
    ]
    return max(steps, default=0)


def orphans(folders: Path) -> list[int]:
    """Processes that still train in this home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folders) in argument for argument in process.cmdline()):
                found.append(process.pid)
    return found


def asked_afterwards(told: Story) -> None:
    """`vid-assets`: what it says when all is fresh up to the training set, after a changed limit, and `run`."""
    home = told.home
    told.done["fresh"] = home.cli("vid_assets.cli", "status", "--json", "--all", check=False)
    home.change(policy={"luma_min": 19.5})
    told.done["changed"] = home.cli("vid_assets.cli", "status", check=False)
    told.done["run"] = home.cli("vid_assets.cli", "run", "--no-training", check=False)
    told.shown["run"] = materializations(home, *BATCH_ASSETS, "latents", partition=BATCH)
    told.done["run again"] = home.cli("vid_assets.cli", "run", "--no-training", check=False)


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_definitions_validate(story: Story):
    succeeded(story.done["validate"])


def test_scan_registers_the_batches(story: Story):
    done = story.done["scan"]
    succeeded(done)
    assert "2 files in 1 batches; last change: 2 added, 0 changed, 0 renamed, 0 removed" in done.stdout
    with dg.DagsterInstance.from_config(str(story.home.folder / "dagster_home")) as instance:
        assert instance.get_dynamic_partitions("ingest_batch") == [BATCH]


@pytest.mark.parametrize("asset", BATCH_ASSETS)
def test_each_batch_asset_materializes_by_name(story: Story, asset: str):
    succeeded(story.done["captions" if asset == "text_embeddings" else asset])
    shown = story.shown["first"][asset]
    assert shown["cache"] == "miss"
    assert shown["misses"] == shown["rows"] > 0
    assert shown["hits"] == 0


def test_global_assets_materialize_by_name(story: Story):
    succeeded(story.done["global"])


@pytest.mark.parametrize("asset", BATCH_ASSETS)
def test_run_again_is_a_hit_with_the_same_version(story: Story, asset: str):
    succeeded(story.done["again"])
    first, again = story.shown["first"][asset], story.shown["again"][asset]
    assert (again["cache"], again["misses"], again["hits"]) == ("hit", 0, first["rows"])
    assert again["data version"] == first["data version"]


def test_killed_encode_leaves_no_state_and_keeps_its_flushes(story: Story):
    at_kill = story.facts["latents at kill"]
    said = [line for line in story.facts["said at kill"].splitlines() if "encoded " in line]
    assert story.facts["state at kill"] is None
    assert len(at_kill) >= max(7, len(said)), "what was said to be encoded is stored"
    assert len(at_kill) < story.shown["again"]["latents"]["rows"], "it was killed in the middle"


def test_encode_goes_on_where_it_was_killed(story: Story):
    succeeded(story.done["again"])
    at_kill, shown = story.facts["latents at kill"], story.shown["again"]["latents"]
    assert shown["cache"] == "miss"
    assert (shown["hits"], shown["misses"]) == (len(at_kill), shown["rows"] - len(at_kill))
    stored = {row["sample_id"]: row for row in story.home.rows("latents")}
    assert all(row["status"] == "ok" for row in stored.values())
    assert {key: stored[key]["checksum"] for key in at_kill} == at_kill
    assert {row["sample_id"] for row in story.home.rows("samples")} == set(stored)


def test_killed_encodes_give_the_latents_of_an_undisturbed_one(story: Story):
    from vid_assets.assets.encode.latent_plan import plan_latents
    from vid_assets.assets.encode.latent_work import configured_backend, lazy_vae, tasks_of
    from vid_assets.assets.encode.stored_latents import stored_latents
    from vid_assets.assets.weights import weights_of
    from vid_assets.encoding.rows import from_bytes

    work = work_of(story.home.project, "latents", BATCH)
    store, weights = work.store, weights_of(work.local, work.runtime["weights"])
    planned = plan_latents(store, BATCH, work.config, weights.hash).latents
    backend = configured_backend(work.runtime["encoding"], lazy_vae(work))
    undisturbed = {row["sample_id"]: row for rows in backend.batches(tasks_of(store, planned)) for row in rows}
    stored = {row["sample_id"]: (row, payload) for row, payload in stored_latents(store, undisturbed)}
    assert stored.keys() == undisturbed.keys()
    for name, (row, payload) in stored.items():
        expected = from_bytes(undisturbed[name]["latent"], row["dtype"], row["shape"])
        assert abs(from_bytes(payload, row["dtype"], row["shape"]) - expected).max() <= 1e-4


def test_training_child_notices_the_kill_saves_and_ends(story: Story):
    ended = story.facts["child ended after"]
    assert ended is not None, "the child trains on"
    assert story.facts["orphans"] == []
    assert story.facts["saved before"] <= story.facts["saved after"] < STEPS, "it stopped in the middle, and saved"


def test_training_goes_on_from_the_saved_step(story: Story):
    succeeded(story.done["trained"])
    assert story.shown["trained"]["checkpoint/short"]["steps"] == STEPS
    (final,) = story.facts["finals"]
    record = json.loads((final / "checkpoint.json").read_text(encoding="utf-8"))
    assert record["summary"]["resumed_from"] == story.facts["saved after"]
    assert story.shown["trained"]["checkpoint/short"]["latents read"] == "from a memory map"


def test_resumed_training_is_the_undisturbed_one(story: Story, tmp_path: Path):
    from model.train import main

    (final,) = story.facts["finals"]
    manifest = json.loads((final.parent / "manifest.json").read_text(encoding="utf-8"))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest | {"output": str(tmp_path / "run")}), encoding="utf-8")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["--manifest", str(path)])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert code == 0
    losses, undisturbed = (
        json.loads((folder / "curves.json").read_text(encoding="utf-8"))["loss"]
        for folder in (final, tmp_path / "run" / "final")
    )
    assert losses == undisturbed


def standings(done: subprocess.CompletedProcess[str]) -> dict[str, SimpleNamespace]:
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return {record["asset"]: SimpleNamespace(**record) for record in records}


def test_status_names_what_is_fresh_and_what_never_ran(story: Story):
    done = story.done["fresh"]
    assert done.returncode == 1, "the evaluation never ran"
    found = standings(done)
    assert found.pop("evaluation/short").condition == "missing"
    assert {one.condition for one in found.values()} == {"fresh"}
    assert set(found) == {
        "source_files", *BATCH_ASSETS, "duplicates", "vae", "latents", "training_set/short", "checkpoint/short",
    }  # fmt: skip


def test_status_says_which_limit_made_what_stale(story: Story):
    done = story.done["changed"]
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.split()[0] in ("stale", "waiting")}
    assert "config policy.luma_min: 20.0 -> 19.5" in lines[f"curated_clips[{BATCH}]"]
    assert lines[f"curated_clips[{BATCH}]"].startswith("stale")
    assert lines[f"latents[{BATCH}]"].startswith("waiting")
    assert f"clip_scores[{BATCH}]" not in lines


def test_run_launches_only_what_is_stale(story: Story):
    done = story.done["run"]
    succeeded(done)
    launched = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert launched == [
        f"$ dagster asset materialize -m vid_assets.definitions --select curated_clips --partition {BATCH}"
    ]
    assert story.shown["run"]["curated_clips"]["computed because"] == "config policy.luma_min: 20.0 -> 19.5"
    assert story.shown["run"]["curated_clips"]["data version"] == story.shown["first"]["curated_clips"]["data version"]


def test_run_says_when_nothing_is_stale(story: Story):
    succeeded(story.done["run again"])
    assert story.done["run again"].stdout.strip() == "nothing is stale"


def test_errors_come_without_a_traceback(story: Story, tmp_path: Path):
    environment = story.home.environment()
    broken = tmp_path / "broken.yaml"
    broken.write_text("polizy: {}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "vid_assets.cli", "status"],
        env=environment | {"VID_ASSETS_CONFIG": str(broken)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"vid-assets: {broken}:")
    assert "polizy: unknown key; did you mean 'policy'?" in done.stderr
