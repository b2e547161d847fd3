"""Decoded frames as they are to be shown: deinterlaced, HDR brought to SDR. Belongs here: which filters a video needs.

Whoever decodes a video goes through here, curation and encoding alike, and what was done is named in the keys of what
is made of it. Nothing is done to footage that needs nothing.

Interlaced frames are filtered by libavfilter's bwdif, one frame for each. PQ (SMPTE ST 2084) and HLG (ARIB STD-B67,
Recommendation ITU-R BT.2100) in the primaries of BT.2020 become BT.709 by a table of colours: to light, with diffuse
white at 203 cd/m2 as in BT.2408; highlights up to 1000 cd/m2 rolled off on the largest of the three channels, so that
hues stay; primaries by BT.2087; and to code values by the inverse of BT.1886. Transparency is shown on black, in videos
as in stills.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av

#: Filters of libavfilter with their options.
_Chain = list[tuple[str, dict[str, str]]]

#: Bumped by hand, each when it shows other pictures: what was done, as it stands in keys.
_DEINTERLACED = "bwdif;"
_TO_SDR = {"smpte2084": "pq-to-sdr;", "arib-std-b67": "hlg-to-sdr;"}
_ON_BLACK = "on-black;"
_BY_RANGE = "by-range;"
#: Formats of pixels that have transparency, by libav's names, and those of stills whose range is declared, by Pillow's.
_WITH_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya\d|pal8")
_WIDE_STILLS = ("F", "I")
#: Seconds that are decoded ahead of an interlaced frame, as the filter looks at the one before it.
CONTEXT_S = 0.25

#: Light of diffuse white, and the highlights that are still told apart, cd/m2.
_WHITE, _PEAK = 203.0, 1000.0
#: Share of white from which on highlights are rolled off.
_KNEE = 0.75
#: Entries of the table on each side.
_GRID = 33
#: Linear BT.2020 to linear BT.709 (Recommendation ITU-R BT.2087).
_PRIMARIES = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def shown_by(video: Mapping[str, Any]) -> str:
    """What is done to the frames of a source (a row of `videos`), for keys; nothing, for nearly all."""
    if video["kind"] != "video":  # what `stills` does, where it did otherwise once
        return _BY_RANGE if video["pix_fmt"] in _WIDE_STILLS else ""
    done = _DEINTERLACED if video["is_interlaced"] else ""
    done += _TO_SDR.get(video["color_transfer"] or "", "")
    return done + (_ON_BLACK if _WITH_ALPHA.match(video["pix_fmt"] or "") else "")


def shown(frames: Iterable[av.VideoFrame], video: Mapping[str, Any]) -> Iterator[av.VideoFrame]:
    """The frames of a video, in order, as they are to be shown: as many, each with its time and its flags."""
    chain: _Chain = []
    if video["is_interlaced"]:
        chain.append(("bwdif", {"mode": "send_frame", "parity": "auto", "deint": "interlaced"}))
    if (video["color_transfer"] or "") in _TO_SDR:
        chain.append(("scale", {"in_color_matrix": "bt2020", "flags": "accurate_rnd+full_chroma_int"}))
        chain.append(("format", {"pix_fmts": "gbrp12le"}))
        chain.append(("lut3d", {"file": str(_table(video["color_transfer"])), "interp": "tetrahedral"}))
        chain.append(("format", {"pix_fmts": "rgb24"}))
    if _WITH_ALPHA.match(video["pix_fmt"] or ""):
        chain += [
            ("format", {"pix_fmts": "gbrap"}),
            ("premultiply", {"inplace": "1"}),
            ("format", {"pix_fmts": "gbrp"}),
        ]
    return _filtered(frames, chain) if chain else iter(frames)


def _filtered(frames: Iterable[av.VideoFrame], chain: _Chain) -> Iterator[av.VideoFrame]:
    """Frames through a chain of filters that gives one for each; a new chain where their size or format changes."""
    waiting: deque[tuple[int | None, Any]] = deque()
    graph: Any = None
    form = None

    def ready() -> Iterator[av.VideoFrame]:
        import av

        with contextlib.suppress(BlockingIOError, av.error.EOFError):
            while True:
                made = graph.pull()
                made.pts, made.time_base = waiting.popleft()
                yield made

    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is None or now != form:
            if graph is not None:
                graph.push(None)
                yield from ready()
            graph, form = _graph(frame, chain), now
            waiting.clear()
        waiting.append((frame.pts, frame.time_base))
        frame.pts = len(waiting) if frame.pts is None else frame.pts
        graph.push(frame)
        yield from ready()
    if graph is not None:
        graph.push(None)
        yield from ready()


def _graph(frame: av.VideoFrame, chain: _Chain) -> Any:
    import av.filter

    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)]
    nodes += [graph.add(name, **settings) for name, settings in chain]
    nodes.append(graph.add("buffersink"))
    for one, following in itertools.pairwise(nodes):
        one.link_to(following)
    graph.configure()
    return graph


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vid-assets-")


@functools.cache
def _table(transfer: str) -> Path:
    """The table of colours as a file in the format that libavfilter reads: red runs fastest."""
    steps = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    rows = to_sdr(np.stack([red, green, blue], axis=-1).reshape(-1, 3), transfer)
    path = Path(_folder().name) / f"{transfer}.cube"
    lines = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
    path.write_text(f"LUT_3D_SIZE {_GRID}\n{lines}\n", encoding="utf-8")
    return path


def to_sdr(codes: np.ndarray, transfer: str) -> np.ndarray:
    """Code values of BT.709 for those of HDR, (N, 3) RGB, 0-1; `transfer` is smpte2084 (PQ) or arib-std-b67 (HLG)."""
    light = _TO_LIGHT[transfer](codes.astype(np.float64)) / _WHITE
    light = np.maximum(light @ _PRIMARIES.T, 0.0)
    largest = light.max(axis=1, keepdims=True)
    excess, span = np.maximum(largest - _KNEE, 0.0) / (1 - _KNEE), (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    # Reinhard's curve with a white point (2002, eq. 4), begun at the knee with a slope of 1
    rolled = np.minimum(largest, _KNEE) + (1 - _KNEE) * excess * (1 + excess / span**2) / (1 + excess)
    light *= np.divide(rolled, largest, out=np.ones_like(largest), where=largest > 0)
    found: np.ndarray = np.clip(light, 0, 1) ** (1 / 2.4)
    return found


def _of_pq(codes: np.ndarray) -> np.ndarray:
    """cd/m2 of code values: the EOTF of SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = codes ** (1 / m2)
    light: np.ndarray = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def _of_hlg(codes: np.ndarray) -> np.ndarray:
    """cd/m2 of code values on a display of 1000 cd/m2: BT.2100's inverse OETF, then its OOTF with a gamma of 1.2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    light: np.ndarray = 1000 * scene * np.maximum(luminance, 1e-9)[:, None] ** 0.2
    return light


_TO_LIGHT: dict[str, Callable[[np.ndarray], np.ndarray]] = {"smpte2084": _of_pq, "arib-std-b67": _of_hlg}
