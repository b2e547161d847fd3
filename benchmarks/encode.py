"""What the pipeline costs over the VAE alone: `python -m benchmarks.encode`.

Side by side, with the same VAE, device, batch size and windows, in alternated runs:
- ours: `encode_missing` into a new LanceDB: decoding, resizing, encoding, hashing and writing, as the asset runs it;
- the bare loop: `model.vaes.backend.encode` on the same frames, in memory in batches already; nothing is kept.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, alternated, report
from benchmarks.working import run_asset
from vid_assets.assets import work_of
from vid_assets.assets.asset import Work
from vid_assets.config.file import parse_config
from vid_assets.project import Project

SECONDS, FPS, WIDTH, HEIGHT = 9, 24, 854, 480
#: Buckets of 256 pixels: every frame of the source is taken, or every third.
BUCKETS = ("17x256x256@24", "17x256x256@8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", nargs="+", type=Path, help="your own videos (default: rendered, 480p H.264)")
    parser.add_argument("--vae", type=Path, help="folder of a HunyuanVideo VAE (default: the tiny one)")
    parser.add_argument("--full-size", action="store_true", help="a HunyuanVideo VAE of full size, random weights")
    parser.add_argument("--buckets", nargs="+", default=BUCKETS, help="each is a case of its own")
    parser.add_argument("--windows", type=int, default=12, help="so many are encoded in each run")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="of the VAE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = [file.resolve() for file in options.files or _rendered(folder)]
        vae = options.vae or _vae(folder / "vae", options.full_size)
        results = [
            _compare(files, vae, bucket, folder / str(number), options) for number, bucket in enumerate(options.buckets)
        ]
        report(results, options.json)


def _compare(files: list[Path], vae: Path, bucket: str, folder: Path, options: argparse.Namespace) -> Result:
    from vid_assets.assets.encode.latent_plan import plan_latents
    from vid_assets.assets.encode.latent_work import configured_backend, lazy_vae, tasks_of
    from vid_assets.assets.encode.latents import encode_missing
    from vid_assets.assets.weights import weights_of
    from vid_assets.encoding.frames import by_source, decoded

    work = _curated(files, vae, bucket, folder, options)
    store, encoding = work.store, work.runtime["encoding"]
    weights = weights_of(work.local, work.runtime["weights"])
    planned = plan_latents(store, work.batch, work.config, weights.hash).latents[: options.windows]
    if not planned:
        raise SystemExit(f"no window of {bucket} in these files")
    loaded = lazy_vae(work)
    windows = [frames for group in by_source(tasks_of(store, planned)) for _, frames in decoded(group)]
    size = options.batch_size
    batches = [np.stack(windows[start : start + size]) for start in range(0, len(windows), size)]  # type: ignore[arg-type]

    def bare() -> None:
        for frames in batches:
            loaded.encode(frames)

    def ours() -> None:
        store.delete("latents", "true")
        backend = configured_backend(encoding, loaded)
        encode_missing(store, planned, backend, encoding.flush_rows, progress=lambda words: None)

    loaded.encode(batches[0])
    ours()
    medians = alternated({"ours": ours, "bare": bare}, options.repeats)
    if (stored := store.count("latents", "status = 'ok'")) != len(planned):
        raise SystemExit(f"{len(planned) - stored} of {len(planned)} windows could not be encoded")
    speed = {name: len(planned) / seconds for name, seconds in medians.items()}
    case = f"{bucket}, {len(planned)} windows of {len(files)} videos, batch {size}"
    return Result(
        "encode", case, speed["ours"], speed["bare"], "vae.encode, frames in memory", "latents/s", options.repeats,
        higher_is_better=True,
    )  # fmt: skip


def _curated(files: list[Path], vae: Path, bucket: str, folder: Path, options: argparse.Namespace) -> Work:
    """`latents` of a home in which every clip of `files` is kept, with what it needs."""
    from vid_assets.curation.policy import Policy

    config: dict[str, Any] = {
        "sources": [{"uri": str(file.parent), "include": [file.name]} for file in files],
        "policy": dict.fromkeys(Policy.model_fields),
        "windows": {"motion_share_min": None},
        "vae": {"source": str(vae), "dtype": options.dtype},
        "encoding": {"batch_size": options.batch_size, "device": options.device, "audit": 0},
        "stages": [{"name": "one", "buckets": [bucket], "steps": 1}],
        "experiments": {"one": {}},
    }
    project = Project(parse_config(config, base=folder), str(folder))
    run_asset(project, "source_files")
    (batch,) = {row["ingest_batch"] for row in project.store.read("sources")}
    for name in ("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions"):
        run_asset(project, name, batch)
    run_asset(project, "duplicates")
    return work_of(project, "latents", batch)


def _vae(folder: Path, full_size: bool) -> Path:
    if not full_size:
        from model.tiny.models import save_tiny_vae

        return save_tiny_vae(folder)
    from diffusers import AutoencoderKLHunyuanVideo

    AutoencoderKLHunyuanVideo().save_pretrained(str(folder))
    return folder


def _rendered(folder: Path) -> list[Path]:
    """Three videos of 9 s at 480p, 24 frames a second: camera moves over different scenes, H.264."""
    from vid_assets.demo import encode, scenes

    files = []
    for seed in range(3):
        file = folder / "footage" / f"{seed}.mp4"
        file.parent.mkdir(exist_ok=True)
        frames = scenes.moving_shapes(seed, (WIDTH, HEIGHT), SECONDS * FPS, FPS)
        encode.write_video(file, frames, FPS, "h264")
        files.append(file)
    return files


if __name__ == "__main__":
    main()
