"""Writes the demo's small models, a trained VAE and a seeded text encoder: `python -m vid_assets.demo.models FOLDER`.

What is there is left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path


def missing(folder: Path) -> bool:
    """Whether one of the models is not there."""
    return not all((folder / name / "config.json").is_file() for name in ("tiny-vae", "tiny-t5"))


def make(folder: Path) -> None:
    """Write the VAE and the text encoder that are missing, each as one atomic folder."""
    from model.tiny.models import save_tiny_text_encoder, save_tiny_vae

    if not (folder / "tiny-vae" / "config.json").is_file():
        save_tiny_vae(folder / "tiny-vae", seed=0)
    if not (folder / "tiny-t5" / "config.json").is_file():
        save_tiny_text_encoder(folder / "tiny-t5", seed=0)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
