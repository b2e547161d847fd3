"""What curation costs over decoding alone: `python -m benchmarks.decode`.

Side by side, on the same 720p files of at least 60 s, in alternated runs:
- ours: `frame_stats` + `clips` + `clip_scores` into a LanceDB, as the assets run them, without Dagster's start-up;
- decord: `get_batch` of all frames in order, at native size, to numpy;
- PySceneDetect's `detect(AdaptiveDetector)`, and after it a second pass with OpenCV that takes the same measures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Result, alternated, report
from benchmarks.working import run_asset
from vid_assets.config.file import parse_config
from vid_assets.project import Project

SECONDS, FPS, WIDTH, HEIGHT = 62, 24, 1280, 720


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", nargs="+", type=Path, help="your own videos (default: rendered in H.264 and HEVC)")
    parser.add_argument("--folder", type=Path, help="where rendered videos are kept (default: a temporary folder)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = options.files or rendered(options.folder or Path(scratch))
        results = []
        for file in files:
            results += _compare(file.resolve(), Path(scratch), options.repeats)
        report(results, options.json)


def _compare(file: Path, scratch: Path, repeats: int) -> Iterator[Result]:
    curate = _curation(file, scratch / file.stem)
    medians = alternated(
        {
            "ours": curate,
            "decord get_batch": lambda: _decord(file),
            "PySceneDetect + metric pass": lambda: (_scenedetect(file), _metric_pass(file)),
        },
        repeats,
    )
    ours = medians.pop("ours")
    for name, other in medians.items():
        yield Result("decode", f"{file.name}: frame_stats + clips + clip_scores", ours, other, name, "s", repeats)


def _curation(file: Path, folder: Path) -> Callable[[], None]:
    """A function that curates `file` anew in a home of its own; listing and probing are done here."""
    config: dict[str, Any] = {
        "sources": [{"uri": str(file.parent), "include": [file.name]}],
        "vae": {"source": "unused"},
        "stages": [{"name": "one", "buckets": ["17x96x128@8"], "steps": 1}],
        "experiments": {"one": {}},
    }
    project = Project(parse_config(config, base=folder), str(folder))
    run_asset(project, "source_files")
    (batch,) = {row["ingest_batch"] for row in project.store.read("sources")}
    run_asset(project, "raw_videos", batch)

    def curate() -> None:
        for name in ("frame_stats", "clips", "clip_scores"):
            if not run_asset(project, name, batch, force=True).rows:
                raise SystemExit(f"{file}: {name} gave no row; the file cannot be read")

    return curate


def _decord(file: Path, at_once: int = 32) -> None:
    import decord

    reader = decord.VideoReader(str(file), num_threads=0)
    for start in range(0, len(reader), at_once):
        reader.get_batch(list(range(start, min(start + at_once, len(reader))))).asnumpy()


def _scenedetect(file: Path) -> None:
    from scenedetect import AdaptiveDetector, detect

    detect(str(file), AdaptiveDetector())


def _metric_pass(file: Path) -> None:
    """The measures of `frame_stats` that PySceneDetect does not take, on frames that OpenCV decodes."""
    import cv2

    from vid_assets.curation.measures import Hashes, Light, Motion, Thumbnails
    from vid_assets.curation.picture import StillPicture

    measures = [Light(), Motion(), Hashes(), Thumbnails()]
    capture = cv2.VideoCapture(str(file))
    while True:
        read, frame = capture.read()
        if not read:
            break
        picture = StillPicture(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        picture.time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        for measure in measures:
            measure.add(picture)
    capture.release()


def rendered(folder: Path) -> list[Path]:
    """Two videos of 62 s at 1280x720, H.264 and HEVC: pans over detailed textures with grain, a cut every 4 s."""
    folder.mkdir(parents=True, exist_ok=True)
    codecs = {
        "h264.mp4": ("libx264", {"preset": "fast", "crf": "23"}),
        "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=error"}),
    }
    files = []
    for name, (codec, settings) in codecs.items():
        files.append(encode(folder / f"pans_720p_{name}", codec, settings))
    return files


def encode(file: Path, codec: str, settings: dict[str, str]) -> Path:
    """Render the pans into `file`, where it is not there yet."""
    import av

    if file.is_file():
        return file
    draft = file.with_name(f".{file.name}")
    with av.open(str(draft), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=settings)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in _pans():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    draft.rename(file)
    return file


def _pans() -> Iterator[np.ndarray]:
    import cv2

    rng = np.random.default_rng(7)
    grain = [rng.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.int8) for _ in range(8)]
    shot = np.zeros(0)
    for frame in range(SECONDS * FPS):
        place = frame % (4 * FPS)
        if not place:
            layers = [
                cv2.resize(rng.integers(0, 256, (side, 2 * side, 3), np.uint8), (WIDTH + 400, HEIGHT))
                for side in (4, 20, 90)
            ]
            shot = np.mean(layers, axis=0).astype(np.int16)
        yield np.clip(shot[:, 3 * place : 3 * place + WIDTH] + grain[frame % 8], 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
