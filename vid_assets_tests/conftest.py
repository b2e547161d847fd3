"""Fixtures that all tests share: small footage and small models, made once for each session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vid_assets_tests.harness import Home

# Models this small gain nothing from a second thread, and tests run beside each other. Started processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SIZE, RATE, FRAMES = (96, 64), 12, 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first: one that starts last would keep one core waiting for it."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small untrained models, saved as a user would have them: folders that `from_pretrained` loads."""
    from model.tiny.models import save_tiny_text_encoder, save_tiny_vae

    folder = tmp_path_factory.mktemp("models")
    save_tiny_vae(folder / "tiny-vae")
    save_tiny_text_encoder(folder / "tiny-t5")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footage of 2.5 s at 96x64: four different scenes, two stills, a better and a worse copy of `one`."""
    from vid_assets.demo import edits, encode, scenes

    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("one", "two", "three", "four")):
        encode.write_video(folder / f"{name}.mp4", scenes.moving_shapes(seed, SIZE, FRAMES, RATE), RATE, "h264")
    larger = (SIZE[0] * 2, SIZE[1] * 2)
    encode.write_video(
        folder / "one_better.mp4", edits.resize(scenes.moving_shapes(0, SIZE, FRAMES, RATE), larger), RATE, "h264"
    )
    encode.write_video(folder / "one_worse.mp4", scenes.moving_shapes(0, SIZE, FRAMES, RATE), RATE, "h264", crf=36)
    for seed, name in enumerate(("still", "still_two"), 10):
        encode.write_still(folder / f"{name}.png", next(iter(scenes.moving_shapes(seed, SIZE, 1, RATE))))
    return folder


@pytest.fixture
def home(tmp_path: Path, models: Path) -> Iterator[Callable[..., Home]]:
    """Makes homes: `home(config...)`; each is a folder of its own."""
    made: list[Home] = []

    def make(**config: Any) -> Home:
        made.append(Home(tmp_path / f"home{len(made)}", models, **config))
        return made[-1]

    yield make
    for one in made:
        one.instance.dispose()


@pytest.fixture
def put(clips: Path) -> Callable[..., Path]:
    """Puts a clip into a home's footage: `put(home, "one.mp4", caption="...")`, under another name with `to`."""

    def copy(home: Home, name: str, to: str | None = None, caption: str | None = None) -> Path:
        target = home.footage / (to or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips / name, target)
        if caption is not None:
            target.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return target

    return copy
