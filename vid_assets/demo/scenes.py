"""The demo scenes: textured, moving, and a pure function of seed, size and frame number.

Every scene is called as `scene(seed, size=(width, height), frames=120, fps=24)` and yields `frames` new uint8 RGB
frames (height, width, 3). Speeds are per second and lengths follow the height, so the motion of a scene looks the same
at every size and rate. What is done to scenes (cuts, fades, damage) is in `edits` and `encode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vid_assets.demo.indoors import aquarium, gears, moving_shapes, orbits
from vid_assets.demo.outdoors import aerial, balloons, falling_leaves, mountain_pan, regatta, road_trip

Scene = Callable[..., Iterator[np.ndarray]]

#: Every scene by name.
SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        moving_shapes,
        mountain_pan,
        balloons,
        aquarium,
        regatta,
        road_trip,
        gears,
        falling_leaves,
        orbits,
        aerial,
    )
}
