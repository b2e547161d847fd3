"""`make demo`: renders footage, takes it through every asset by `dagster asset materialize`, and shows what came out.

Run again, every asset is a cache hit. The log of each launch is kept below the home, in `demo/logs`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vid_assets.assets.train.facts import Trained
from vid_assets.assets.train.names import CHECKPOINT
from vid_assets.config.file import PRESET_FOLDER, home
from vid_assets.orchestration.launching import Launch, steps

_RUN_ID = re.compile(r"__ASSET_JOB - ([0-9a-f-]{36}) -")


@dataclass(frozen=True)
class Done:
    """A materialization that a launch made, with its metadata as plain values."""

    asset: str
    partition: str | None
    facts: dict[str, Any]


def main() -> int:
    """Run the demo; returns the exit code."""
    os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
    os.environ["VID_ASSETS_CONFIG"] = str(PRESET_FOLDER / "demo.yaml")
    folder = Path(home())
    if "://" in home():
        print("the demo needs a local folder as VID_ASSETS_HOME", file=sys.stderr)
        return 2
    os.environ["VID_ASSETS_HOME"] = str(folder)
    began = time.monotonic()
    _prepare(folder)
    prepared = time.monotonic()
    done: list[Done] = []
    for number, launch in enumerate(_launches(), 1):
        print(f"$ {launch}", flush=True)
        found = _run(launch, folder / "demo" / "logs" / f"{number}.log")
        if found is None:
            return 1
        done += found
    ended = time.monotonic()
    _report(folder, done, prepared - began, ended - prepared)
    return 0


def _prepare(folder: Path) -> None:
    """Render the footage and make the small models, side by side, unless they are there."""
    from vid_assets.demo import models
    from vid_assets.demo.render import render

    footage, weights = folder / "demo" / "footage", folder / "demo" / "models"
    making = None
    if models.missing(weights):
        print(f"writing the small models to {weights}", flush=True)
        making = subprocess.Popen([sys.executable, "-m", "vid_assets.demo.models", str(weights)])
    print(f"rendering footage into {footage}", flush=True)
    labels = render(footage)
    print(f"{len(labels)} files, {sum(label['bytes'] for label in labels) / 1e6:.1f} MB", flush=True)
    if making is not None and making.wait():
        raise SystemExit("the models could not be made; the lines above say why")


def _launches() -> Iterator[Launch]:
    """The chain in few launches, as each costs seconds. The last batch waits for none and goes through in one run."""
    from vid_assets.config.file import load_config

    scan, curation, gathered, encoding, *curriculum = steps(load_config())
    yield Launch(scan)
    *earlier, last = _batches()
    for batch in earlier:
        yield Launch(curation, batch)
    yield Launch((*curation, *gathered, *encoding), last)
    for batch in earlier:
        yield Launch(encoding, batch)
    yield Launch(tuple(name for names in curriculum for name in names), "tiny")


def _batches() -> list[str]:
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        return sorted(instance.get_dynamic_partitions("ingest_batch"))


def _run(launch: Launch, log: Path) -> list[Done] | None:
    """Run a launch; what it materialized, None when it failed (then the end of its log is shown)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(launch.command(), stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    if code:
        print(f"{text[-4000:]}\nThis launch failed (exit code {code}); its log is {log}", file=sys.stderr)
        return None
    run_id = _RUN_ID.search(text)
    return _materializations(run_id[1]) if run_id else []


def _materializations(run_id: str) -> list[Done]:
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    found = []
    for record in records:
        event = record.asset_materialization
        if event is not None:
            facts = {name: value.value for name, value in event.metadata.items()}
            found.append(Done("/".join(event.asset_key.path), event.partition, facts))
    return found


def _report(folder: Path, done: list[Done], preparing: float, running: float) -> None:
    width = max(len(f"{one.asset} [{one.partition}]") for one in done)
    print(f"\n{'asset':{width}}  cache   rows   hits  misses  seconds")
    for one in done:
        name = f"{one.asset} [{one.partition}]" if one.partition else one.asset
        facts = one.facts
        print(
            f"{name:{width}}  {facts['cache']:5}  {facts['rows']:5}  {facts['hits']:5}  {facts['misses']:6}  "
            f"{facts['seconds']:7.2f}"
        )
    computed = sum(one.facts["misses"] for one in done)
    work = sum(one.facts["seconds"] for one in done)
    print(f"\nrows computed: {computed}" + (" (everything came from the cache)" if not computed else ""))
    total, overhead = preparing + running, running - work
    print(
        f"{total:.0f} s: {preparing:.0f} s to render footage and make models, {work:.0f} s of work in the assets, "
        f"{overhead:.0f} s ({overhead / total:.0%}) of orchestration"
    )
    for one in done:
        trained = Trained.read(one.facts)
        start, end = trained.heldout_start, trained.heldout
        if one.asset.startswith(f"{CHECKPOINT}/") and start and end:
            print(f"{one.asset}: held-out loss {start:.3f} -> {end:.3f} ({end / start - 1:+.0%})")
    videos = sorted((folder / "evaluations").rglob("video-*.mp4"))
    sheets = sorted((folder / "views").rglob("*.jpg"))
    print(f"\ntables            {folder / 'lancedb'}")
    print(f"checkpoints       {folder / 'checkpoints'}")
    for path in sheets:
        print(f"contact sheet     {path}")
    for path in videos:
        print(f"generated video   {path}")
    print("\nThe VAE of the demo is tiny, and its text encoder untrained: expect soft pictures that follow no caption.")
    print("Web UI: make ui     (then open http://127.0.0.1:3000)")


if __name__ == "__main__":
    sys.exit(main())
