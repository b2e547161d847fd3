"""Training the tiny VAE: first its linear path, then all of it. The loss is the logarithm of the squared error.

The logarithm weighs clips alike, however easily they are coded: it is the PSNR in other units.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from model.tiny.vae_training.footage import FRAMES, Clip, random_crop
from model.tiny.vae_training.linear_code import psnr
from model.tiny.vae_training.linear_path import POSTERIOR, LinearPath, constant_inputs

#: Batches of about 70,000 pixels in every shape: (clips, frames, side), and how often each comes.
_SHAPES = (((2, 9, 64), 0.4), ((1, 17, 64), 0.15), ((1, 9, 88), 0.15), ((1, 5, 112), 0.1), ((4, 1, 128), 0.2))
_RENDERED_SHARE = 0.3
_EMA = 0.998


@dataclass
class Curve:
    """What was seen while training: a row of minutes, steps, PSNR on training crops and on held-out clips (dB)."""

    rows: list[dict[str, float]] = field(default_factory=list)


class Footage:
    """Random training batches of real and rendered clips."""

    def __init__(self, real: Sequence[Clip], rendered: Sequence[Clip], seed: int) -> None:
        self._real, self._rendered, self._rng = real, rendered, np.random.default_rng(seed)

    def batch(self, shape: tuple[int, int, int] | None = None) -> torch.Tensor:
        """Pixels (B, 3, F, H, W), -1 to 1; of a random shape where none is given."""
        drawn = int(self._rng.choice(len(_SHAPES), p=[share for _, share in _SHAPES]))
        count, frames, side = shape or _SHAPES[drawn][0]
        crops = []
        for _ in range(count):
            clips = self._rendered if self._rng.random() < _RENDERED_SHARE else self._real
            crops.append(random_crop(clips, frames, side, self._rng))
        return as_pixels(np.stack(crops))


def as_pixels(frames: np.ndarray) -> torch.Tensor:
    """uint8 frames (B, F, H, W, 3) as pixels (B, 3, F, H, W), -1 to 1."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def reconstruct(vae: Any, frames: np.ndarray) -> np.ndarray:
    """uint8 frames (F, H, W, 3) coded by the posterior's mean and decoded."""
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(as_pixels(frames[None])).latent_dist.mean).sample[0]
    levels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().numpy()


def train_linear(footage: Footage, minutes: float, say: Callable[[str], None]) -> LinearPath:
    """The linear path after `minutes` of training: its encoder by analysis, its decoder to it, then both together."""
    path = LinearPath()
    path.analyse([footage.batch((2, FRAMES, 64)) for _ in range(100)])
    loss = partial(_linear_loss, path, footage)
    path.encoder.requires_grad_(False)
    _descend([list(path.decoder.parameters())], minutes / 3, [2e-3], loss, say)
    path.encoder.requires_grad_(True)
    _descend([list(path.parameters())], 2 * minutes / 3, [2.5e-4], loss, say)
    return path


def train(
    vae: Any,
    footage: Footage,
    held_out: Sequence[Clip],
    minutes: float,
    say: Callable[[str], None],
    curve: Curve,
    lr: float = 1.5e-4,
    whole: bool = False,
) -> Any:
    """The exponential average of `vae` after `minutes` of training. The posterior's width is fixed.

    `curve` is added to. Unless `whole`, the residual branches at the size of the pictures stay zero and are not
    computed: most of a step's time goes there, and most weights are elsewhere.
    """
    vae.requires_grad_(True)
    average = copy.deepcopy(vae).requires_grad_(False)
    # nothing may learn to widen or to narrow the posterior: the width is declared
    frozen = [vae.quant_conv.weight, vae.quant_conv.bias]
    branches = [
        weight for name, weight in vae.named_parameters() if ".norm" in name or ".conv1." in name or ".conv2." in name
    ]
    for weight, inputs in constant_inputs(vae):
        weight.register_hook(partial(_without, inputs))
    known = {id(weight) for weight in [*frozen, *branches]}
    path = [weight for weight in vae.parameters() if id(weight) not in known]

    def after(step: int, minute: float, crops: float, look: bool) -> None:
        decay = min(_EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), vae.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        if look:
            seen = float(np.mean([psnr([(clip.frames, reconstruct(average, clip.frames))]) for clip in held_out]))
            curve.rows.append({"minute": minute, "step": step, "training crops": crops, "held out": seen})
            say(f"held out {seen:.2f} dB")

    with contextlib.nullcontext() if whole else _without_large_branches(vae):
        _descend([path, branches], minutes, [lr / 3, lr], partial(_loss, vae, footage), say, after)
    return average


@contextlib.contextmanager
def _without_large_branches(vae: Any) -> Iterator[None]:
    """Let the blocks at the size of the pictures be the identity, which they are as long as they are untrained."""
    blocks = [*vae.encoder.down_blocks[0].resnets, *vae.decoder.up_blocks[3].resnets]
    for block in blocks:
        if block.conv2.conv.weight.any() or block.conv2.conv.bias.any():
            raise ValueError("a block at the size of the pictures was trained already; train the whole")
        block.forward = _identity
        block.requires_grad_(False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
            block.requires_grad_(True)


def _identity(hidden_states: torch.Tensor) -> torch.Tensor:
    return hidden_states


def _linear_loss(path: LinearPath, footage: Footage) -> torch.Tensor:
    pixels = footage.batch()
    with torch.autocast("cpu", torch.bfloat16):
        latents = path.encoder(pixels)
        decoded = path.decoder(latents + POSTERIOR * torch.randn_like(latents))
    return _squared_error(decoded, pixels).log().mean() + _excess(latents)


def _loss(vae: Any, footage: Footage) -> torch.Tensor:
    pixels = footage.batch()
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    return _squared_error(decoded, pixels).log().mean() + _excess(posterior.mean * vae.config.scaling_factor)


def _excess(latents: torch.Tensor) -> torch.Tensor:
    """Latents that grow without bound would make the declared width of the posterior mean nothing."""
    return 1e-2 * (latents.float().square().mean() - 1).clamp(min=0)


def _without(inputs: slice, gradient: torch.Tensor) -> torch.Tensor:
    kept = gradient.clone()
    kept[:, inputs] = 0
    return kept


def _squared_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    return (decoded.float() - pixels).square().mean(dim=(1, 2, 3, 4)) + 1e-5


def _descend(
    groups: list[list[torch.Tensor]],
    minutes: float,
    lrs: list[float],
    loss_of: Callable[[], torch.Tensor],
    say: Callable[[str], None],
    after: Callable[[int, float, float, bool], None] = lambda *_: None,
) -> None:
    """Adam with a cosine schedule by the clock, so that training ends in time however busy the machine is.

    Each of `groups` of weights has its own peak learning rate in `lrs`.
    """
    weights = [weight for group in groups for weight in group]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], betas=(0.9, 0.99), weight_decay=0.0)
    began, step, looked = time.monotonic(), 0, 0.0
    recent: list[float] = []
    while (minute := (time.monotonic() - began) / 60) < minutes:
        done = minute / minutes
        for group, lr in zip(optimizer.param_groups, lrs):
            group["lr"] = lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * done))
        loss = loss_of()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"step {step}: the gradient is not finite")
        optimizer.step()
        step += 1
        recent = [*recent[-199:], 10 * math.log10(4) - 10 * math.log10(math.e) * float(loss.detach())]
        look = minute - looked >= max(1.0, minutes / 60)
        if look:
            looked = minute
            say(f"minute {minute:.1f}, step {step}: {np.mean(recent):.2f} dB on training crops")
        after(step, minute, float(np.mean(recent)), look)
