"""What serving frames of windows costs by decord and by PyAV: `python -m benchmarks.serve`.

Side by side, on 720p files of a minute whose frames both serve alike, in alternated runs: every frame that windows at 8
a second show, of the whole file, and of two seconds in every ten, which takes seeking.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.decode import SECONDS, encode
from benchmarks.report import Result, alternated, report
from vid_assets.footage.decode import Route, frames_on_screen, stream_frames
from vid_assets.footage.probe import probe
from vid_assets.footage.reader import VideoReader

#: Kind of file -> codec and settings; none has open groups of pictures, which decord shows wrong.
KINDS = {
    "h264.mp4": ("libx264", {"preset": "fast", "crf": "23"}),
    "h264_short_groups.mp4": ("libx264", {"preset": "fast", "crf": "23", "g": "24"}),
    "hevc_closed.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=error:open-gop=0"}),
    "vp9.mkv": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "4M"}),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", nargs="+", type=Path, help="your own videos (default: rendered ones)")
    parser.add_argument("--folder", type=Path, help="where rendered videos are kept (default: a temporary folder)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = []
        for file in options.files or rendered(options.folder or Path(scratch)):
            results += _compare(file, options.repeats)
        report(results, options.json)


def rendered(folder: Path) -> list[Path]:
    """A video of each kind."""
    return [encode(folder / f"serve_720p_{name}", *how) for name, how in KINDS.items()]


def _compare(file: Path, repeats: int) -> Iterator[Result]:
    video = vars(probe(str(file)))
    frames = VideoReader(str(file), video["stream_index"]).av_frames()
    times = np.array(sorted(frame.time for frame in frames if frame.time is not None))
    every = np.arange(times[0], min(times[-1], SECONDS), 1 / 8)
    for what, moments in (("all", every), ("2 s of 10", every[every % 10 < 2])):
        numbers = np.unique(frames_on_screen(times, moments.tolist())).tolist()

        def serve(route: Route, numbers: list[int] = numbers) -> Callable[[], object]:
            return lambda: deque(stream_frames(str(file), video, numbers, times, route), maxlen=0)

        medians = alternated({"decord": serve("decord"), "pyav": serve("pyav")}, repeats)
        case = f"{file.name}: {what}, {len(numbers)} frames by decord"
        yield Result("serve", case, medians["decord"], medians["pyav"], "PyAV", "s", repeats)


if __name__ == "__main__":
    main()
