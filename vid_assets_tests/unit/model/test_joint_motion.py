"""Joint training keeps movement: squares that move in a small latent space, from tables through order and loader.

Trained on images alone, a denoiser of videos shows the same place in every frame, since nothing taught it that frames
differ; with the declared share of images, the squares move.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from model import denoisers
from model.data.loader import Loader
from model.data.training_set import TrainingSet
from model.denoisers.conditions import Conditions
from model.evaluation.motion import motion, motion_ratio
from model.evaluation.sampling import generate, predictor
from model.objectives import make
from model.vaes.backend import sample_and_normalise
from model.vaes.space import Normalisation
from vid_assets_tests.unit.model.tables import member, opened, write_training_set

FRAMES, HEIGHT, WIDTH, FPS = 5, 4, 8, 8
VIDEO, IMAGE = f"{FRAMES}x{HEIGHT}x{WIDTH}@{FPS}", f"1x{HEIGHT}x{WIDTH}"
COUNT, BATCH, STEPS, IMAGE_SHARE = 48, 24, 300, 0.25
#: Mean and standard deviation of the brightness of a latent position.
NORMALISATION = Normalisation((0.125,), (1 / 0.35,))
FLOW = make({"name": "flow_matching", "shift": 1.0})


def squares(seed: int, frames: int) -> np.ndarray:
    """A bright square of 2x2 that moves half a position a frame to one side, and comes in again: (1, f, h, w)."""
    rng = np.random.default_rng(seed)
    start, way = rng.uniform(0, WIDTH), rng.choice([-0.5, 0.5])

    def covered(centre: float, length: int) -> np.ndarray:
        away = np.abs((np.arange(length) + 0.5 - centre + length / 2) % length - length / 2)
        return np.clip(1.5 - away, 0, 1)

    pictures = [np.outer(covered(HEIGHT / 2, HEIGHT), covered(start + way * frame, WIDTH)) for frame in range(frames)]
    return np.stack(pictures)[None].astype("<f4")


def pixels(latent: torch.Tensor) -> np.ndarray:
    """The video of a normalised latent (1, f, h, w): 8 pixels for a position, gray uint8 (f, 8h, 8w)."""
    levels = (NORMALISATION.invert(latent)[0].numpy() * 180 + 40).clip(0, 255)
    return np.stack([cv2.resize(level, (WIDTH * 8, HEIGHT * 8)) for level in levels]).astype(np.uint8)


def training_set(folder: Path, images_alone: bool) -> TrainingSet:
    rows, members = [], []
    for index in range(COUNT if images_alone else 2 * COUNT):
        latent = squares(index, 1 if index < COUNT else FRAMES)
        blob = latent.tobytes()
        rows.append(
            {
                "sample_id": f"s{index:03d}", "status": "ok", "dtype": "float32", "shape": list(latent.shape),
                "posterior": "mean", "checksum": hashlib.sha256(blob).hexdigest(), "latent": blob,
            }
        )  # fmt: skip
        members.append(member(index, IMAGE if index < COUNT else VIDEO))
    return opened(write_training_set(folder, rows, members), 1)


def nothing(count: int) -> Conditions:
    return dataclasses.replace(Conditions.none(count), text_tokens=1)


def trained(data: TrainingSet, image_share: float) -> Any:
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=4, attention_head_dim=16, in_channels=1, out_channels=1, text_dim=8,
        freq_dim=64, ffn_dim=192, num_layers=2, rope_max_seq_len=64,
    )  # fmt: skip
    family, generator = denoisers.family("wan"), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    with Loader(data, data.order(image_share, BATCH, 0), workers=0) as loader:
        for step in range(STEPS):
            share = 0.5 * (1 + math.cos(math.pi * step / STEPS))
            optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, (step + 1) / 20) * share
            optimizer.zero_grad()
            for batch in next(loader):
                latents = sample_and_normalise(batch.latents, NORMALISATION)
                noise = torch.randn(latents.shape, generator=generator)
                times = FLOW.sample_times(len(latents), generator, latents[0, 0].numel())
                predict = predictor(model, family, nothing(len(latents)))
                (FLOW.loss(predict, latents, noise, times).sum() / BATCH).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval()


def motions(latents: torch.Tensor) -> list[float | None]:
    return [motion(pixels(latent), FPS) for latent in latents]


@pytest.fixture(scope="module")
def of_the_data() -> list[float | None]:
    videos = np.stack([squares(index, FRAMES) for index in range(COUNT, 2 * COUNT)])
    return motions(NORMALISATION.apply(torch.from_numpy(videos)))


@pytest.mark.parametrize(("image_share", "low", "high"), [(1.0, 0.0, 0.2), (IMAGE_SHARE, 0.5, 1.5)])
def test_images_alone_stop_the_motion_and_the_declared_mix_keeps_it(
    image_share: float, low: float, high: float, of_the_data: list[float | None], tmp_path: Path
) -> None:
    model = trained(training_set(tmp_path, image_share == 1.0), image_share)
    noise = torch.randn((24, 1, FRAMES, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(5))
    made = generate(model, denoisers.family("wan"), FLOW, nothing(24), noise, 16, None)
    ratio = motion_ratio(motions(made), of_the_data)
    assert ratio is not None and low <= ratio <= high
    # and it is squares that are seen, not a grey picture, which does not move either
    assert 0.5 < float(made.amax((1, 2, 3, 4)).mean() / NORMALISATION.apply(torch.ones(1, 1, 1, 1)).item()) < 1.5
