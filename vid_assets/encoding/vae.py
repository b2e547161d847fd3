"""The VAE as the backends and the audit use it: loaded when it is first asked for, in the process that asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from model.errors import UserError


class VaeNotLoadedError(UserError):
    """The VAE cannot be loaded as it is configured. No RuntimeError: those are of the frames that are encoded."""


@dataclass(frozen=True)
class LazyVae:
    """A VAE that is described here and loaded later. It travels to another process as long as it is not loaded.

    `threads` are torch's, for all that the process computes; None leaves torch's choice. The others are arguments of
    `model.vaes.backend.load_vae`.
    """

    folder: str
    family: str
    dtype: str = "float32"
    device: str = "cpu"
    tiling: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None

    @cached_property
    def _vae(self) -> Any:
        from model.vaes.backend import load_vae

        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        try:
            return load_vae(self.folder, self.family, self.dtype, self.device, self.tiling, self.settings)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            raise VaeNotLoadedError(
                f"the VAE in {self.folder} cannot be loaded on {self.device}: {str(error) or type(error).__name__}"
            ) from error

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """uint8 frames (B, F, H, W, 3) as float32 moments (B, 2C, f, h, w), mean first."""
        from model.vaes.backend import encode

        return encode(self._vae, frames, self.family)

    def decode(self, latent: np.ndarray) -> np.ndarray:
        """uint8 frames (F, H, W, 3) of the mean of one stored latent, (2C, f, h, w) moments or (C, f, h, w) mean."""
        import torch

        from model.vaes import normalisation
        from model.vaes.backend import decode, sample_and_normalise

        how = normalisation(self.folder, self.family)
        normalised = sample_and_normalise(torch.from_numpy(latent), how)
        (frames,) = decode(self._vae, normalised[None], how, self.family)
        return frames
