"""The tiny VAE and text encoder, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.tiny import save_tiny_text_encoder, save_tiny_vae


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vae(tmp_path_factory.mktemp("weights") / "vae", 0)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_text_encoder(tmp_path_factory.mktemp("weights") / "text", 0)
