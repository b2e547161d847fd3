"""What the policy and the search for duplicates cost for many clips: `python -m benchmarks.scale`.

Both run as the assets run them, tables in and tables out, on synthetic clips of five seconds: `curated_clips` batch
after batch, then `duplicates` over all that were accepted, a tenth of them copies of others (re-encoded, trimmed,
mirrored). Each runs in a process of its own, whose peak memory is the figure, with the libraries in it.
- growth: the large corpus beside as many times the figures of the small one as it is larger;
- latents: the same with and without some hundreds of megabytes of latents in the home, which neither step may read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Result, report
from benchmarks.working import run_asset
from vid_assets.config.file import parse_config
from vid_assets.curation.hashing import MIRROR
from vid_assets.curation.tracks import HASH_RATE
from vid_assets.project import Project

SECONDS, PER_VIDEO, PER_BATCH, COPIES = 5.0, 20, 5_000, 0.1
STEPS = ("policy", "duplicates")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=10_000, help="the corpus from which growth is told")
    parser.add_argument("--latents-mb", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = _measured(Path(folder, "large"), options.clips, 0, options.repeats)
        small = _measured(Path(folder, "small"), options.small, 0, options.repeats)
        heavy = _measured(Path(folder, "heavy"), options.small, options.latents_mb, options.repeats)
    results = []
    times = options.clips / options.small
    for step in STEPS:
        name = f"{times:g} x that of {options.small:,} clips"
        case = f"{step}, {options.clips:,} clips"
        for number, unit in enumerate(("s", "MB")):
            ours, other = large[step][number], times * small[step][number]
            results.append(Result("scale", case, ours, other, name, unit, options.repeats))
        case = f"{step}, {options.small:,} clips, {options.latents_mb} MB of latents"
        ours, other = heavy[step][1], small[step][1]
        results.append(Result("scale", case, ours, other, "without latents", "MB", options.repeats))
    report(results, options.json)


def _project(home: str) -> Project:
    stage = {"name": "unused", "buckets": ["1x256x256"], "image_share": 1.0, "steps": 1}
    vae = {"source": "unused"}
    return Project(
        parse_config(
            {
                "sources": [{"uri": home}],
                "vae": vae,
                "stages": [stage],
                "experiments": {"unused": {"model": "tiny-dit"}},
            }
        ),
        home,
    )


def _measured(home: Path, clips: int, latents_mb: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Step -> median (seconds, peak MB) of processes that each do it for all clips, with nothing cached."""
    make_corpus(_project(str(home)), clips, latents_mb)
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, tuple[float, float]] = {}
    for step in STEPS:
        runs = []
        for _ in range(repeats):
            with spawn.Pool(1) as pool:
                runs.append(pool.apply(_run, (step, str(home))))
        found[step] = tuple(statistics.median(values) for values in zip(*runs, strict=True))  # type: ignore[assignment]
    return found


def _run(step: str, home: str) -> tuple[float, float]:
    project = _project(home)
    # imports the libraries, which is not what is measured
    batches = sorted({row["ingest_batch"] for row in project.store.read("videos", columns=["ingest_batch"])})
    started = time.perf_counter()
    if step == "policy":
        for batch in batches:
            run_asset(project, "curated_clips", batch, force=True)
    else:
        run_asset(project, "duplicates", force=True)
    return time.perf_counter() - started, _peak_mb()


def _peak_mb() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says starts, on Linux, with the memory of the process that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_corpus(project: Project, clips: int, latents_mb: int = 0, seed: int = 0) -> None:
    """Fill a home with `clips` scored clips of videos that need not exist."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(clips)
    videos = numbers // PER_VIDEO
    hashes, quarters = _tracks(rng, clips)
    pixels = 1280 - 2 * rng.integers(0, 100, videos[-1] + 1)
    starts = SECONDS * 1.1 * (numbers % PER_VIDEO)
    ids = np.char.mod("clip-%08d", numbers)
    names = np.char.mod("video-%07d", np.arange(videos[-1] + 1))
    batches = np.char.mod("b%05d", np.arange(videos[-1] + 1) * PER_VIDEO // PER_BATCH + 1)
    ones = np.ones(len(names), dtype=np.int64)
    _fill(
        project,
        "videos",
        video_id=names, ingest_batch=batches, status=["ok"] * len(names), kind=["video"] * len(names),
        size_bytes=50_000_000 * ones, duration_s=110.0 * ones, width=pixels, height=720 * ones,
    )  # fmt: skip
    _fill(
        project,
        "sources",
        uri=np.char.add("file:///", names), video_id=names, ingest_batch=batches, state=["present"] * len(names),
        size_bytes=50_000_000 * ones, etag=["1"] * len(names), hashed_version=["50000000:1"] * len(names),
    )  # fmt: skip
    lengths = [len(one) for one in hashes]
    mine = {"clip_id": ids, "ingest_batch": batches[videos]}
    _fill(
        project,
        "clips",
        **mine, video_id=names[videos], start_s=starts, end_s=starts + np.array(lengths) / HASH_RATE,
        kind=["video"] * clips, frame_count=np.full(clips, 120),
    )  # fmt: skip
    _fill(
        project,
        "clip_scores",
        **mine, **_metrics(rng, clips, project), packet_hash=ids,
        hashes=_lists(np.concatenate(hashes).view(np.int64), lengths),
        quarters=_lists(np.concatenate(quarters).ravel(), [4 * n for n in lengths]),
    )  # fmt: skip
    for number in range(latents_mb // 4):
        latent = {"sample_id": f"sample-{number}", "latent": rng.bytes(4 << 20), "status": "ok"}
        project.store.upsert("latents", [latent])


def _tracks(rng: np.random.Generator, clips: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Hashes (n,) uint64 and quarters (n, 4) float32 of each clip; a share of `COPIES` copies an earlier one."""
    count = int(SECONDS * HASH_RATE)
    flips = np.uint64(1) << rng.integers(0, 64, (clips, count)).astype(np.uint64)
    first = rng.integers(0, 2**64, (clips, 1), dtype=np.uint64)
    hashes = list(np.bitwise_xor.accumulate(np.concatenate([first, flips[:, 1:]], axis=1), axis=1))
    quarters = list(120 + np.cumsum(rng.normal(0, 2, (clips, count, 4)), axis=1, dtype=np.float32))
    copied = np.where(rng.random(clips) < COPIES, rng.integers(0, np.maximum(1, np.arange(clips))), -1)
    mirror = [1, 0, 3, 2]
    for number in np.flatnonzero(copied >= 0).tolist():
        start, stop = int(rng.integers(0, 10)), count - int(rng.integers(0, 10))
        noise = np.uint64(1) << rng.integers(0, 64, stop - start).astype(np.uint64)
        hashes[number] = hashes[copied[number]][start:stop] ^ noise[: len(hashes[copied[number]][start:stop])]
        quarters[number] = quarters[copied[number]][start:stop]
        if number % 5 == 0:
            hashes[number], quarters[number] = hashes[number] ^ np.uint64(MIRROR), quarters[number][:, mirror]
    return hashes, quarters


def _metrics(rng: np.random.Generator, clips: int, project: Project) -> dict[str, np.ndarray]:
    """Values that keep every rule, but for one in ten clips, which break one each."""
    from vid_assets.curation.metrics import METRICS, RULES

    values = {name: np.ones(clips) for name in METRICS}
    limits = [(rule, getattr(project.config.policy, rule.name)) for rule in RULES]
    for rule, limit in limits:
        if limit is not None and rule.op == ">=":
            values[rule.metric.name] = np.full(clips, 1.01 * limit)
    for rule, limit in limits:
        if limit is not None and rule.op == "<=":
            values[rule.metric.name] = np.minimum(values[rule.metric.name], 0.99 * limit)
    broken = rng.integers(0, 10 * len(limits), clips)
    for number, (rule, limit) in enumerate(limits):
        if limit is not None:
            values[rule.metric.name][broken == number] = -1.0 if rule.op == ">=" else 2.0 * limit + 1.0
    return values


def _lists(values: np.ndarray, lengths: list[int]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _fill(project: Project, name: str, **columns: Any) -> None:
    """Write rows with the given columns; the others are NULL, the technical ones are made up."""
    from vid_assets.store.schemas import table_spec

    schema = table_spec(name).schema
    rows = len(next(iter(columns.values())))
    made_up = [f"{number:064d}" for number in range(rows)]
    arrays = []
    for field in schema:
        if field.name in ("cache_key", "content_hash"):
            arrays.append(pa.array(made_up))
        elif field.name in columns:
            values = columns[field.name]
            arrays.append((values if isinstance(values, pa.Array) else pa.array(values)).cast(field.type))
        else:
            arrays.append(pa.nulls(rows, field.type))
    project.store.table(name).add(pa.table(arrays, schema=schema))


if __name__ == "__main__":
    main()
