"""The tiny VAE and text encoder, made once for all tests of this folder; tables to train on; threads as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.tiny.models import save_tiny_text_encoder, save_tiny_vae
from vid_assets_tests.unit.model.tables import mixed_training_set


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vae(tmp_path_factory.mktemp("weights") / "vae", 0)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_text_encoder(tmp_path_factory.mktemp("weights") / "text", 0)


@pytest.fixture(scope="module", autouse=True)
def threads_as_before() -> Iterator[None]:
    """A run in this process sets its own number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return mixed_training_set(tmp_path_factory.mktemp("tables"), 16, 16)
