"""The weights of the tiny VAE: not trained but designed, so that its latents mean something and decode to a picture.

Inside the architecture of HunyuanVideo's VAE it is a linear transform of 8x8 pixel, 4 frame blocks: per latent pixel
the mean colour, and how luma and colour change across the block in x, y and time (Haar details of the coarsest level).
The decoder interpolates the mean colours, so a decoded clip is a blurred one. What makes a deep network linear:

- the residual branches and the attention end in zeros, so every block is the identity or its shortcut;
- silu(x) - silu(-x) = x, so the last activation passes what comes in both signs;
- constants of +-100 share the last norm's only group, so its scale hardly depends on the picture.
"""

from __future__ import annotations

import math
from typing import Any

import torch

#: Widths of the four resolutions. One norm group, because the constants must share it with every channel.
CONFIG = {"block_out_channels": (8, 16, 32, 48), "layers_per_block": 1, "norm_num_groups": 1, "latent_channels": 16}

_CONSTANT = 100.0
_LOGVAR = -6.0  # a narrow posterior, as a trained VAE has

# An orthonormal colour basis: luma, red against blue, green against both.
_COLOUR = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
_COLOUR = _COLOUR / _COLOUR.norm(dim=1, keepdim=True)

_HERE, _MEAN, _CHANGE = (0.0, 0.0, 1.0), (0.0, 0.5, 0.5), (0.0, 0.5, -0.5)
_CENTRE, _BILINEAR = (0.0, 1.0, 0.0), (0.25, 0.5, 0.25)

# The 16 features: (colour, kernel in time, in y, in x), and the gain that brings footage to a deviation of about 2,
# which the family's scaling factor then brings to 1.
_FEATURES = (
    *[(colour, _MEAN, _MEAN, _MEAN, gain) for colour, gain in ((0, 2.5), (1, 10.0), (2, 25.0))],
    *[(colour, _MEAN, _MEAN, _CHANGE, gain) for colour, gain in ((0, 20.0), (1, 100.0), (2, 200.0))],
    *[(colour, _MEAN, _CHANGE, _MEAN, gain) for colour, gain in ((0, 20.0), (1, 100.0), (2, 200.0))],
    *[(colour, _CHANGE, _MEAN, _MEAN, gain) for colour, gain in ((0, 30.0), (1, 200.0), (2, 400.0))],
    (0, _MEAN, _CHANGE, _CHANGE, 60.0),
    (0, _CHANGE, _MEAN, _CHANGE, 100.0),
    (0, _CHANGE, _CHANGE, _MEAN, 100.0),
    (0, _CHANGE, _CHANGE, _CHANGE, 150.0),
)


@torch.no_grad()
def design(vae: Any, seed: int) -> None:
    """Give `vae`, built from `CONFIG`, its weights. The seed permutes the latent channels and flips their signs."""
    for name, parameter in vae.named_parameters():
        if ".conv2." in name or ".to_out.0." in name:
            parameter.zero_()
    generator = torch.Generator().manual_seed(seed)
    order = torch.eye(16)[torch.randperm(16, generator=generator)]
    signs = torch.randint(0, 2, (16,), generator=generator) * 2.0 - 1.0
    gains = signs * torch.tensor([gain for *_, gain in _FEATURES])
    _design_encoder(vae.encoder)
    _set(vae.quant_conv, torch.block_diag(order @ gains.diag(), torch.zeros(16, 16)))
    vae.quant_conv.bias[16:] = _LOGVAR
    _set(vae.post_quant_conv, gains.reciprocal().diag() @ order.T)
    _design_decoder(vae.decoder)


def _design_encoder(encoder: Any) -> None:
    down = encoder.down_blocks
    _set(encoder.conv_in.conv, torch.eye(8, 3), _HERE, _CENTRE, _CENTRE)
    _set(down[0].downsamplers[0].conv.conv, torch.eye(8), _HERE, _MEAN, _MEAN)
    _set(down[1].resnets[0].conv_shortcut.conv, torch.eye(16, 8))
    _set(down[1].downsamplers[0].conv.conv, torch.eye(16), _MEAN, _MEAN, _MEAN)
    _set(down[2].resnets[0].conv_shortcut.conv, torch.eye(32, 16))
    features = down[2].downsamplers[0].conv.conv
    features.weight.zero_()
    features.bias.zero_()
    for index, (colour, *kernels, _) in enumerate(_FEATURES):
        features.weight[index, :3] = _COLOUR[colour].view(3, 1, 1, 1) * _kernel(*kernels)
    both_signs = down[3].resnets[0].conv_shortcut.conv
    eye = torch.eye(16, 32)
    _set(both_signs, torch.cat([eye, -eye, torch.zeros(16, 32)]))
    both_signs.bias[32:] = torch.tensor([_CONSTANT, -_CONSTANT]).repeat_interleave(8)
    # 16 of 48 channels are constants
    _undo_norm(encoder.conv_norm_out, math.sqrt(16 / 48))
    _set(encoder.conv_out.conv, _difference(16, 32, 48), _HERE, _CENTRE, _CENTRE)


def _design_decoder(decoder: Any) -> None:
    up = decoder.up_blocks
    colours = torch.zeros(48, 16)
    colours[:3, :3] = _COLOUR.T
    _set(decoder.conv_in.conv, colours, _HERE, _CENTRE, _CENTRE)
    _set(up[0].upsamplers[0].conv.conv, torch.eye(48), _HERE, _BILINEAR, _BILINEAR)
    _set(up[1].resnets[0].conv_shortcut.conv, torch.eye(32, 48))
    _set(up[1].upsamplers[0].conv.conv, torch.eye(32), _MEAN, _BILINEAR, _BILINEAR)
    _set(up[2].resnets[0].conv_shortcut.conv, torch.eye(16, 32))
    _set(up[2].upsamplers[0].conv.conv, torch.eye(16), _MEAN, _BILINEAR, _BILINEAR)
    both_signs = up[3].resnets[0].conv_shortcut.conv
    eye = torch.eye(3, 16)
    _set(both_signs, torch.cat([eye, -eye, torch.zeros(2, 16)]))
    both_signs.bias[6:] = torch.tensor([_CONSTANT, -_CONSTANT])
    # 2 of 8 channels are constants
    _undo_norm(decoder.conv_norm_out, math.sqrt(2 / 8))
    _set(decoder.conv_out.conv, _difference(3, 3, 8), _HERE, _CENTRE, _CENTRE)


def _set(conv: torch.nn.Conv3d, matrix: torch.Tensor, *kernels: tuple[float, float, float]) -> None:
    """One matrix (out, in) between channels, with one separable kernel (time, y, x) for all."""
    kernel = _kernel(*kernels) if kernels else torch.ones(1, 1, 1)
    conv.weight.copy_(matrix[:, :, None, None, None] * kernel)
    if conv.bias is not None:
        conv.bias.zero_()


def _kernel(*kernels: tuple[float, float, float]) -> torch.Tensor:
    return torch.einsum("t,y,x->tyx", *(torch.tensor(kernel) for kernel in kernels))


def _undo_norm(norm: torch.nn.GroupNorm, deviation: float) -> None:
    norm.weight.fill_(_CONSTANT * deviation)
    norm.bias.zero_()


def _difference(count: int, rows: int, columns: int) -> torch.Tensor:
    """Channel k minus channel count + k, for the first `count` of `rows` outputs."""
    matrix = torch.zeros(rows, columns)
    matrix[:count, :count] = torch.eye(count)
    matrix[:count, count : 2 * count] = -torch.eye(count)
    return matrix
