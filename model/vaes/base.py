"""What a family of VAEs says of itself, and what families share. Imports neither torch nor diffusers.

A family is a class of VAE in diffusers, told whole in a file of its own; what differs between its checkpoints (scaling,
a larger ratio) is read from a checkpoint's folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from model.vaes.space import LatentSpace, Normalisation
from model.weights import WeightsError, read_json

if TYPE_CHECKING:
    import torch

#: Bump by hand when `model.vaes` computes other latents from the same frames, weights and settings.
VAE_CODE_VERSION = "1"

# diffusers' own defaults of settings that many families have, said here because each of them changes latents or what
# they decode to.
SWITCHES: dict[str, Any] = {"use_tiling": False, "use_slicing": False}
TILES_256: dict[str, Any] = {
    "tile_sample_min_height": 256,
    "tile_sample_min_width": 256,
    "tile_sample_stride_height": 192,
    "tile_sample_stride_width": 192,
}


class VaeFamily(ABC):
    """A class of VAE in diffusers. Has no state."""

    #: Its variants, the usual one first. Sources: the class in diffusers 0.42, and the configurations that were
    #: published with the weights.
    spaces: ClassVar[tuple[LatentSpace, ...]]
    #: Every attribute of the class that changes latents, or what they decode to, with diffusers' own default.
    settings: ClassVar[Mapping[str, Any]] = {}
    #: Attributes that follow from settings: the same tile in latent pixels -> (its side in pixels, its overlap).
    latent_tiles: ClassVar[Mapping[str, tuple[str, str]]] = {}
    #: What the class takes for a `scaling_factor` that an old `config.json` does not have.
    scaling_factor: ClassVar[float] = 1.0

    @property
    def name(self) -> str:
        """In the configuration."""
        return self.spaces[0].family

    def encode_settings(self, tiling: bool, changes: Mapping[str, Any]) -> dict[str, Any]:
        """`settings` with changes, and what follows from them; see `model.vaes.encode_settings`."""
        settings = dict(self.settings)
        if tiling and "use_tiling" not in settings:
            raise ValueError(f"the VAE of {self.name} cannot encode in tiles")
        if "use_tiling" in settings:
            settings["use_tiling"] = tiling
        for name, value in changes.items():
            if name == "use_tiling" or name not in settings:
                known = ", ".join(sorted(settings.keys() - {"use_tiling"})) or "none at all"
                raise ValueError(f"the VAE of {self.name} has no setting {name!r} to change; it has {known}")
            kind = type(settings[name])
            if type(value) is not kind:
                raise ValueError(f"{name} is {value!r}; it takes a value of type {kind.__name__}")
            settings[name] = value
        self.check(settings)
        return settings | {name: self._latent_tile(settings, *of) for name, of in self.latent_tiles.items()}

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse tiles that do not lie on latent pixels, and what diffusers would ignore, with a `ValueError`."""
        temporal, largest = self.spaces[0].temporal, max(space.spatial for space in self.spaces)
        for name, value in settings.items():
            if name.startswith("tile_sample"):
                ratio = temporal if name.endswith("num_frames") else largest
                if value < ratio or value % ratio:
                    raise ValueError(f"{name} is {value}; the VAE of {self.name} takes multiples of {ratio} there")
            if name.startswith("tile_overlap") and not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; it is a share, from 0 to below 1")
            if name.startswith("num_") and value < 1:
                raise ValueError(f"{name} is {value}; it is at least 1")
            if "_stride_" in name and value > settings[name.replace("_stride_", "_min_")]:
                raise ValueError(f"{name} is {value}, more than a tile: what lies between two tiles would be left out")

    def _latent_tile(self, settings: Mapping[str, Any], side: str, share: str) -> int:
        spatial, pixels, overlap = self.spaces[0].spatial, settings[side], settings[share]
        latents = pixels // spatial
        # diffusers cuts the pixels and blends the latents, each rounded down by itself
        if int(pixels * (1 - overlap)) != spatial * (latents - int(latents * overlap)):
            raise ValueError(f"{side} {pixels} with an overlap of {overlap:g}: tiles would not meet")
        return latents

    @abstractmethod
    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        """(temporal, spatial, channels) of a `config.json`; a key that an old file does not have counts as usual."""

    def variant(self, config: Mapping[str, Any], where: str) -> LatentSpace:
        """The space whose ratios and channels a configuration has; another one is a `WeightsError`."""
        usual = self.spaces[0]
        try:
            temporal, spatial, channels = self.geometry(config)
        except (KeyError, TypeError) as error:
            raise WeightsError(f"{where}: no configuration of a {self.name} VAE: {error!r}") from None
        for space in self.spaces:
            if (space.temporal, space.spatial, space.channels) == (temporal, spatial, channels):
                return space
        known = " or ".join(space.words for space in self.spaces)
        found = replace(usual, temporal=temporal, spatial=spatial, channels=channels).words
        raise WeightsError(f"{where}: no VAE of the family {self.name}: it is {found}, not {known}")

    def shift_and_std(self, folder: Path, config: Mapping[str, Any], channels: int) -> tuple[Any, Any]:
        """Shift and standard deviation of each channel, before the scaling factor; None where they are missing."""
        return [0.0] * channels, [1.0] * channels

    def normalisation(self, folder: Path) -> Normalisation:
        """See `model.vaes.normalisation`."""
        space, config = self.of_folder(folder), read_json(folder / "config.json")
        scaling: float = config.get("scaling_factor", self.scaling_factor)
        shift, std = self.shift_and_std(folder, config, space.channels)
        if not shift or not std or not len(shift) == len(std) == space.channels or 0 in std or not scaling:
            raise WeightsError(f"{folder}: latents_mean and latents_std are not {space.channels} numbers each")
        return Normalisation(tuple(map(float, shift)), tuple(scaling / value for value in std))

    def of_folder(self, folder: Path) -> LatentSpace:
        """See `model.vaes.folder_space`."""
        path, wanted = folder / "config.json", self.spaces[0].vae_class
        config = read_json(path)
        found = config.get("_class_name")
        if found != wanted:
            raise WeightsError(f"{path}: no VAE of the family {self.name}: _class_name is {found!r}, not {wanted!r}")
        return self.variant(config, str(path))

    def moments(self, vae: Any, levels: torch.Tensor) -> torch.Tensor:
        """Moments (B, 2C, f, h, w), float32 on the CPU, of frames (B, F, H, W, 3), uint8 on the VAE's device."""
        return moments(vae, levels.permute(0, 4, 1, 2, 3))

    def pixels(self, vae: Any, z: torch.Tensor) -> torch.Tensor:
        """Levels from -1 to 1, (B, 3, F, H, W), of latents (B, C, f, h, w) that are not normalised."""
        decoded: torch.Tensor = vae.decode(z).sample
        return decoded


class FrameFamily(VaeFamily):
    """A family whose class encodes each frame by itself, (B * F, 3, H, W)."""

    #: Frames that are encoded at once: memory, not latents.
    encoded_at_once: ClassVar[int] = 8
    #: Frames of one clip that are decoded together.
    decoded_at_once: ClassVar[int] = 1

    def geometry(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        return by_blocks(config, self.spaces[0])

    def moments(self, vae: Any, levels: torch.Tensor) -> torch.Tensor:
        import torch

        pieces = levels.flatten(0, 1).permute(0, 3, 1, 2).split(self.encoded_at_once)
        found = torch.cat([moments(vae, piece) for piece in pieces])
        return found.unflatten(0, levels.shape[:2]).transpose(1, 2)

    def pixels(self, vae: Any, z: torch.Tensor) -> torch.Tensor:
        import torch

        clips = []
        for clip in z.transpose(1, 2):  # (f, C, h, w)
            clips.append(torch.cat([self.frames(vae, piece) for piece in clip.split(self.decoded_at_once)]))
        return torch.stack(clips).transpose(1, 2)

    def frames(self, vae: Any, z: torch.Tensor) -> torch.Tensor:
        """Levels (F, 3, H, W) of latents (F, C, h, w) of one clip, at most `decoded_at_once` of them."""
        decoded: torch.Tensor = vae.decode(z).sample
        return decoded


def moments(vae: Any, levels: torch.Tensor) -> torch.Tensor:
    """What the class itself gives for levels from 0 to 255, in float32 on the CPU."""
    posterior = vae.encode((levels.float() / 127.5 - 1.0).to(vae.dtype)).latent_dist
    found: torch.Tensor = posterior.parameters.float().cpu()
    return found


def by_blocks(config: Mapping[str, Any], usual: LatentSpace) -> tuple[int, int, int]:
    """The geometry of a class that halves height and width between its blocks."""
    temporal = int(config.get("temporal_compression_ratio", usual.temporal))
    return temporal, 2 ** (len(config["block_out_channels"]) - 1), config.get("latent_channels", usual.channels)
