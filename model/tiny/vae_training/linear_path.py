"""The linear part of the tiny VAE: what is left of it without residual branches, norms and activations.

An autoencoder of this size that starts at random needs far longer than an hour of a CPU. So its linear path is trained
first, which is quick, and is then written into the VAE so that the VAE computes the same. What makes the deep
network linear at the start:

- the residual branches end in zeros, so that every block is the identity or its shortcut;
- silu(x) - silu(-x) = x, so the last activation passes what comes in both signs;
- constants share the only group of the last norm, so that its scale hardly depends on the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import (
    HunyuanVideoCausalConv3d,
    HunyuanVideoDownsampleCausal3D,
    HunyuanVideoUpsampleCausal3D,
)
from torch import nn

#: `AutoencoderKLHunyuanVideo` of 1.1 M parameters. One norm group, because the constants must share it with every
#: channel, and because statistics of all channels differ less between a crop and a whole picture.
CONFIG: dict[str, Any] = {
    "block_out_channels": (16, 16, 32, 48),
    "layers_per_block": 1,
    "norm_num_groups": 1,
    "latent_channels": 16,
    "mid_block_add_attention": False,
}
LATENTS = 16
#: Standard deviation of the posterior over that of the latents.
POSTERIOR = 0.05

# Several times what else goes through the last norms: latents of deviation 1, colours of deviation 1/2.
_ENCODER_CONSTANT, _DECODER_CONSTANT = 10.0, 5.0
_BLOCKS = 50_000
_COLOURS = 6  # channels from which the last convolution makes red, green and blue


class LinearPath(nn.Module):
    """The convolutions of the VAE between which nothing happens; shapes are those of the VAE."""

    def __init__(self) -> None:
        super().__init__()
        conv, down, up = HunyuanVideoCausalConv3d, HunyuanVideoDownsampleCausal3D, HunyuanVideoUpsampleCausal3D
        first, second, third, last = CONFIG["block_out_channels"]
        self.encoder = nn.Sequential(
            conv(3, first, 3),
            down(first, first, 0, stride=(1, 2, 2)),  # type: ignore[arg-type]
            down(second, second, 0, stride=2),
            conv(second, third, 1),
            down(third, third, 0, stride=2),
            conv(third, LATENTS, 1),
            conv(LATENTS, LATENTS, 3),
        )
        self.decoder = nn.Sequential(
            conv(LATENTS, last, 3),
            up(last, last, upsample_factor=(1, 2, 2)),
            conv(last, third, 1),
            up(third, third),
            conv(third, second, 1),
            up(second, _COLOURS),
            conv(_COLOURS, 3, 3),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, F, H, W), -1 to 1, coded and decoded."""
        return self.decoder(self.encoder(pixels))

    @torch.no_grad()
    def analyse(self, pixels: Sequence[torch.Tensor]) -> None:
        """Set the encoder to nested principal components of `pixels`, batches (B, 3, F, H, W), -1 to 1.

        Blocks of 2x2 pixels are kept whole (12 numbers), blocks of 2x2x2 of these shrink to 16 numbers, and blocks of
        2x2x2 of those to the 16 of the latent, each with unit deviation.
        """
        layers: list[Any] = list(self.encoder)
        start, half, quarter, widen, eighth, features, out = layers
        _set(start, torch.eye(16, 3)[:, :, None, None, None], centre=True)
        _set(half.conv, _principal([start(batch) for batch in pixels], (1, 2, 2), 16)[0])
        _set(quarter.conv, _principal([half(start(batch)) for batch in pixels], (2, 2, 2), 16)[0])
        _set(widen, torch.eye(32, 16)[:, :, None, None, None])
        coded = [widen(quarter(half(start(batch)))) for batch in pixels]
        basis, deviations = _principal(coded, (2, 2, 2), 32)
        _set(eighth.conv, basis)
        _set(features, (torch.eye(LATENTS, 32) / deviations[:LATENTS, None])[:, :, None, None, None])
        _set(out, torch.eye(LATENTS)[:, :, None, None, None], centre=True)

    @torch.no_grad()
    def write_into(self, vae: Any, pixels: Sequence[torch.Tensor]) -> None:
        """Make `vae`, new from `CONFIG`, compute what this path does with `pixels` and the like.

        Its latents have mean 0 and deviation 1 / `scaling_factor`, and a posterior of the width `POSTERIOR`.
        """
        for name, parameter in vae.named_parameters():
            if ".conv2." in name:
                parameter.zero_()
        features = [self.encoder[:-1](batch) for batch in pixels]
        latents = [self.encoder[-1](batch) for batch in features]
        colours = [self.decoder[:-1](batch) for batch in latents]
        self._write_encoder(vae.encoder, _energy(features))
        mean, deviation = _statistics(latents)
        scale = deviation * vae.config.scaling_factor
        vae.quant_conv.weight.zero_()
        vae.quant_conv.weight[:LATENTS, :LATENTS] = scale.reciprocal().diag()[:, :, None, None, None]
        vae.quant_conv.bias[:LATENTS] = -mean / scale
        vae.quant_conv.bias[LATENTS:] = 2 * math.log(POSTERIOR / vae.config.scaling_factor)
        vae.post_quant_conv.weight.copy_(scale.diag()[:, :, None, None, None])
        vae.post_quant_conv.bias.copy_(mean)
        self._write_decoder(vae.decoder, _energy(colours))

    def _write_encoder(self, encoder: Any, energy: float) -> None:
        layers: list[Any] = list(self.encoder)
        start, half, quarter, widen, eighth, features, out = layers
        down = encoder.down_blocks
        _copy(encoder.conv_in, start)
        for block, module in zip(down, (half, quarter, eighth)):
            _copy(block.downsamplers[0].conv, module.conv)
        _copy(down[2].resnets[0].conv_shortcut, widen)
        _both_signs(down[3].resnets[0].conv_shortcut.conv, features.conv, _ENCODER_CONSTANT)
        _undo_norm(encoder.conv_norm_out, _ENCODER_CONSTANT, energy)
        _difference(encoder.conv_out.conv, out.conv)

    def _write_decoder(self, decoder: Any, energy: float) -> None:
        layers: list[Any] = list(self.decoder)
        start, half, narrow, quarter, narrower, whole, out = layers
        up = decoder.up_blocks
        _copy(decoder.conv_in, start)
        _copy(up[0].upsamplers[0].conv, half.conv)
        _copy(up[1].resnets[0].conv_shortcut, narrow)
        _copy(up[1].upsamplers[0].conv, quarter.conv)
        _copy(up[2].resnets[0].conv_shortcut, narrower)
        _both_signs(up[2].upsamplers[0].conv.conv, whole.conv.conv, _DECODER_CONSTANT)
        _undo_norm(decoder.conv_norm_out, _DECODER_CONSTANT, energy)
        _difference(decoder.conv_out.conv, out.conv)


def constant_inputs(vae: Any) -> list[tuple[torch.nn.Parameter, slice]]:
    """The weights of the last convolutions, each with the input channels that are constants: they are kept at zero.

    A weight on a constant is a bias that a step of training would move far more than the others.
    """
    return [
        (vae.encoder.conv_out.conv.weight, slice(2 * LATENTS, 2 * LATENTS + 4)),
        (vae.decoder.conv_out.conv.weight, slice(2 * _COLOURS, 2 * _COLOURS + 4)),
    ]


def _set(conv: Any, weight: torch.Tensor, centre: bool = False) -> None:
    """Set the last taps of each axis, those of a block, or the middle one in space and the present in time."""
    conv.conv.weight.zero_()
    conv.conv.bias.zero_()
    depth, height, width = weight.shape[2:]
    space = slice(1, 2) if centre else slice(-height, None)
    conv.conv.weight[:, :, -depth:, space, space if centre else slice(-width, None)] = weight


def _principal(
    batches: Sequence[torch.Tensor], block: tuple[int, int, int], count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first principal components (count, C, *block) of blocks, and their deviations (count)."""
    depth, height, width = block
    rows = []
    for batch in batches:
        moving = batch[:, :, 1:] if depth > 1 else batch  # the first frame has its own latent
        split = moving.unfold(2, depth, depth).unfold(3, height, height).unfold(4, width, width)
        rows.append(split.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(-1, batch.shape[1] * depth * height * width))
    values = torch.cat(rows)
    values = values[:: max(1, len(values) // _BLOCKS)]
    variances, vectors = torch.linalg.eigh(torch.cov(values.T.double()))
    kept = vectors.flip(1)[:, :count].T.float()
    basis = torch.zeros(count, values.shape[1])
    basis[: len(kept)] = kept
    deviations = torch.zeros(count)
    deviations[: len(kept)] = variances.flip(0)[:count].clamp(min=0).sqrt().float()
    return basis.reshape(count, batches[0].shape[1], *block), deviations


def _copy(target: Any, source: Any) -> None:
    target.conv.weight.copy_(source.conv.weight)
    target.conv.bias.copy_(source.conv.bias)


def _both_signs(target: nn.Conv3d, source: nn.Conv3d, constant: float) -> None:
    """Channels of `source`, then their negatives, then four constants; what is left of `target` stays as it is."""
    count = source.out_channels
    assert target.bias is not None and source.bias is not None
    target.weight[: 2 * count] = torch.cat([source.weight, -source.weight])
    target.bias[: 2 * count] = torch.cat([source.bias, -source.bias])
    target.weight[2 * count : 2 * count + 4] = 0
    target.bias[2 * count : 2 * count + 4] = torch.tensor([constant, constant, -constant, -constant])


def _difference(target: nn.Conv3d, source: nn.Conv3d) -> None:
    """`source` of the channels less their negatives; all other inputs and outputs are 0."""
    assert target.bias is not None and source.bias is not None
    outputs, inputs = source.weight.shape[:2]
    target.weight.zero_()
    target.bias.zero_()
    target.weight[:outputs, :inputs] = source.weight
    target.weight[:outputs, inputs : 2 * inputs] = -source.weight
    target.bias[:outputs] = source.bias


def _undo_norm(norm: nn.GroupNorm, constant: float, energy: float) -> None:
    """Multiply by the deviation of all channels: of the constants, and of both signs of what has `energy`."""
    norm.weight.fill_(math.sqrt((4 * constant**2 + 2 * energy) / norm.num_channels))
    norm.bias.zero_()


def _energy(batches: Sequence[torch.Tensor]) -> float:
    """Mean square of features (B, C, F, H, W), summed over the channels."""
    return float(sum(batch.square().mean() * batch.shape[1] for batch in batches) / len(batches))


def _statistics(batches: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel."""
    values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in batches], dim=1)
    return values.mean(dim=1), values.std(dim=1)
