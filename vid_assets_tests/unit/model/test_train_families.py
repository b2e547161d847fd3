"""Every family through the trainer: stills and videos, its objective, adapters, first frames; and out as a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.denoisers import family, preset
from model.export import export
from model.vaes import latent_space
from model.weights import weights_hash
from vid_assets_tests.unit.model import tables
from vid_assets_tests.unit.model.denoising import TINY


class Nobody:
    """A reporter that hears nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: None


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def training_set(folder: Path, channels: int) -> dict[str, Any]:
    """Four videos and three stills, some with captions; one of each is held out."""
    latents, members = [], []
    for index in range(7):
        bucket, frames = ("17x64x64@8", 3) if index < 4 else ("1x64x64", 1)
        latents.append(tables.sample_row(index, (2 * channels, frames, 8, 8)))
        caption = None if index % 3 == 0 else f"k{index % 3}"
        members.append(tables.member(index, bucket, caption, "heldout" if index in (1, 4) else "train"))
    texts = [tables.embedding_row("k1", 5), tables.embedding_row("k2", 9)]
    return tables.write_training_set(folder, latents, members, texts)


@pytest.mark.parametrize("name", TINY)
def test_a_family_learns_and_is_exported(name: str, tmp_path: Path) -> None:
    chosen = preset(name)
    space = latent_space(chosen.latent_family)
    spec = training_set(tmp_path, space.channels)

    def run(output: str, **changes: Any) -> dict[str, Any]:
        document = tables.manifest(
            spec,
            tmp_path / output,
            model=name,
            family=chosen.family,
            objective=chosen.objective.model_dump(),
            **{"image_conditioning": chosen.image_conditioning, "image_share": 0.5, "steps": 6, **changes},
        )
        zeros, ones = [0.0] * space.channels, [1.0] * space.channels
        document["vae"] |= {"family": chosen.latent_family, "normalisation": {"shift": zeros, "scale": ones}}
        return tables.train(document, Nobody(), lambda: None)

    summary = run("whole")
    assert summary["heldout"]["final"] < summary["heldout"]["start"]
    assert min(summary["samples"].values()) > 0  # of both kinds

    start = tmp_path / "whole/final/ema"
    weights = {"folder": str(start), "weights_hash": weights_hash(start)}
    lora = {"rank": 4, "alpha": 4.0, "targets": None, "dropout": 0.1}
    able = space.image_is_first_latent and chosen.family != "wan"  # whose channels for it are tested elsewhere
    given = "first_frame" if able else "none"
    adapted = run("adapted", weights=weights, lora=lora, image_conditioning=given, precision="bf16", steps=3)
    assert 0 < adapted["trained_parameters"] < 0.2 * summary["parameters"]
    made = export(tmp_path / "adapted/final", tmp_path / "out")
    assert made.pipeline == family(chosen.family).pipelines[able]
