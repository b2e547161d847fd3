"""Which files the demo footage consists of, how each is made, and what is known of it exactly.

The order of the names matters: the last files are what comes in a later ingest batch, duplicates among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vid_assets.demo import edits, encode, scenes
from vid_assets.demo.drawing import FPS, FRAMES, SIZE

#: To be raised by hand whenever a rendered file or a label changes; a folder of another version is rendered anew.
VERSION = 1

_WIDE = (480, 270)


@dataclass(frozen=True)
class Label:
    """What is true of one demo file. Frame numbers count from 0; a cut is the first frame of the new shot.

    `good` says that every shot which is neither in `short_shots` nor ended by a defect ought to be kept. `frames`,
    `fps` and the size are those of the file as intended (what a broken file claims or would have had).
    """

    file: str
    kind: str  # video | image
    what: str
    good: bool
    width: int
    height: int
    frames: int
    fps: float | None
    caption: str | None = None
    cuts: tuple[int, ...] = ()
    transitions: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    short_shots: tuple[tuple[int, int], ...] = ()
    freezes: tuple[tuple[int, int], ...] = ()
    content_box: tuple[int, int, int, int] | None = None  # x, y, width, height inside black bars
    defects: tuple[str, ...] = ()
    duplicate_of: str | None = None
    duplicate_kind: str | None = None  # exact | near


@dataclass(frozen=True)
class Entry:
    """A label and the function that writes its file; an exact duplicate is copied and has none."""

    label: Label
    write: Callable[[Path], None] | None


def entries() -> list[Entry]:
    """All demo files, in order of their names."""
    return [*_good_videos(), *_edited_videos(), *_stills(), *_broken_files(), *_late_files()]


def _good_videos() -> list[Entry]:
    return [
        _video(
            "01_balloons.mp4",
            "striped hot-air balloons rise over green hills",
            lambda: scenes.balloons(1),
            caption=True,
        ),
        _video("02_aquarium.mp4", "striped fish swim in a blue aquarium", lambda: scenes.aquarium(2), caption=True),
        _video(
            "03_mountains.mp4", "a pan over blue mountains and fir trees", lambda: scenes.mountain_pan(1), caption=True
        ),
        _video("04_road_trip.mkv", "a car drives along a country road", lambda: scenes.road_trip(2), caption=True),
        _video("05_regatta.webm", "sailing boats at sunset", lambda: scenes.regatta(2), codec="vp9", crf=36),
        _video("06_gears.mp4", "toothed wheels turn on a wooden board", lambda: scenes.gears(1), caption=True),
        _video("07_leaves.mp4", "autumn leaves fall in a misty forest", lambda: scenes.falling_leaves(3), caption=True),
        _video("08_orbits.mp4", "planets circle a golden sun", lambda: scenes.orbits(1), caption=True),
        _video("09_aerial.mp4", "a flight over a patchwork of fields", lambda: scenes.aerial(1, _WIDE), size=_WIDE),
        _video("10_toys.mp4", "patterned toys glide over a red cloth", lambda: scenes.moving_shapes(2), caption=True),
    ]


def _edited_videos() -> list[Entry]:
    def three_shots() -> Iterator[np.ndarray]:
        return edits.cut(scenes.road_trip(9, frames=72), scenes.orbits(10, frames=72), scenes.regatta(11, frames=72))

    def quick_cuts() -> Iterator[np.ndarray]:
        return edits.cut(
            scenes.aquarium(20, frames=80),
            scenes.falling_leaves(21, frames=16),
            scenes.moving_shapes(22, frames=20),
            scenes.mountain_pan(24, frames=80),
        )

    def fades() -> Iterator[np.ndarray]:
        return edits.cut(
            edits.fade(scenes.balloons(30, frames=100), 80, 95, to_black=True),
            edits.fade(scenes.gears(33, frames=100), 4, 19, to_black=False),
        )

    spans = {"fade_out": ((80, 95),), "black": ((96, 103),), "fade_in": ((104, 119),)}
    short = ((80, 95), (96, 115))
    quick = "four shots, of which two are shorter than a second"
    return [
        _video("11_three_shots.mp4", "three shots of three seconds", three_shots, frames=216, cuts=(72, 144)),
        _video("12_quick_cuts.mp4", quick, quick_cuts, frames=196, cuts=(80, 96, 116), short_shots=short),
        _video("13_fade.mp4", "one scene fades to black, another fades in", fades, frames=200, transitions=spans),
        _video("14_freeze.mp4", "the picture stands still for two seconds",
               lambda: edits.freeze(scenes.aerial(40, frames=73), 48, 95), freezes=((48, 95),), defects=("freeze",)),
        _video("15_blurred.mp4", "out of focus",
               lambda: edits.blur(scenes.gears(4, frames=96), 4), frames=96, defects=("blurred",)),
        _video("16_black.mp4", "nearly black",
               lambda: edits.darken(scenes.orbits(4, frames=96), 0.06), frames=96, defects=("too_dark",)),
        _video("17_letterbox.mp4", "a wide picture between black bars",
               lambda: edits.letterbox(scenes.regatta(50, _WIDE, 120), 360), size=(480, 360), frames=120,
               content_box=(0, 45, 480, 270)),
        _video("18_flicker.mp4", "a failing lamp flickers",
               lambda: edits.flicker(scenes.aquarium(5, frames=96), 0.35, 5), frames=96, defects=("flicker",)),
    ]  # fmt: skip


def _stills() -> list[Entry]:
    return [
        _still("20_still_balloons.jpg", "hot-air balloons over hills", scenes.balloons, 11, caption=True),
        _still("21_still_aquarium.png", "fish above a pebble floor", scenes.aquarium, 12, caption=True),
        _still("22_still_mountains.webp", "mountains behind a forest", scenes.mountain_pan, 14),
        _still("23_still_toys.jpg", "patterned toys on a cloth", scenes.moving_shapes, 15, caption=True),
        _still("24_still_tiny.png", "128 pixels high", scenes.orbits, 16, size=(160, 128), defects=("too_small",)),
    ]


def _broken_files() -> list[Entry]:
    empty = Label("32_empty.mp4", "video", "a file of no bytes", False, 0, 0, 0, None, defects=("empty",))
    return [
        _video("30_damaged.mp4", "zeros where a bad sector was", lambda: scenes.road_trip(7, frames=96), frames=96,
               then=encode.damage, defects=("damaged",)),
        _video("31_truncated.mp4", "cut off at 55 % of its bytes", lambda: scenes.balloons(8, frames=96), frames=96,
               then=lambda path: encode.truncate(path, 0.55), defects=("truncated",)),
        Entry(empty, Path.touch),
    ]  # fmt: skip


def _late_files() -> list[Entry]:
    smaller = (368, 276)
    copy = Label("43_gears_copy.mp4", "video", "the same bytes as 06_gears.mp4", True, *SIZE, FRAMES,
                 FPS, duplicate_of="06_gears.mp4", duplicate_kind="exact")  # fmt: skip
    return [
        _video("40_toys_later.mp4", "patterned toys on a green cloth", lambda: scenes.moving_shapes(3), caption=True),
        _video("41_leaves_later.mp4", "leaves sway down between trees", lambda: scenes.falling_leaves(5), caption=True),
        _video("42_balloons_again.mp4", "the balloons of 01, smaller and of lower quality",
               lambda: edits.resize(scenes.balloons(1), smaller), size=smaller, crf=26,
               duplicate_of="01_balloons.mp4", duplicate_kind="near"),
        Entry(copy, None),
    ]  # fmt: skip


def _video(
    file: str,
    what: str,
    shot: Callable[[], Iterator[np.ndarray]],
    *,
    size: tuple[int, int] = SIZE,
    frames: int = FRAMES,
    caption: bool = False,
    codec: str = "h264",
    crf: int = 23,
    then: Callable[[Path], None] | None = None,
    **facts: Any,
) -> Entry:
    """A video of the frames that `shot()` gives; `then` breaks the finished file, `facts` go into the label."""
    good = not facts.get("defects")
    label = Label(file, "video", what, good, *size, frames, FPS, what if caption else None, **facts)

    def write(path: Path) -> None:
        written = encode.write_video(path, shot(), FPS, codec, crf)
        if written != frames:
            raise RuntimeError(f"{file}: the label says {frames} frames, rendered were {written}")
        if then:
            then(path)

    return Entry(label, write)


def _still(
    file: str,
    what: str,
    scene: scenes.Scene,
    seed: int,
    *,
    size: tuple[int, int] = (512, 384),
    caption: bool = False,
    defects: tuple[str, ...] = (),
) -> Entry:
    label = Label(file, "image", what, not defects, *size, 1, None, what if caption else None, defects=defects)

    def write(path: Path) -> None:
        _, image = scene(seed, size, frames=2, fps=0.4)  # the scene after 2.5 s
        encode.write_still(path, image)

    return Entry(label, write)
