"""The sections about latents and what conditions on them: the VAE, the encoders, the windows and the buckets."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from model.encoders.text import FAMILIES as TEXT_FAMILIES
from model.encoders.text import NAMED_TEMPLATES
from model.vaes import FAMILIES, encode_settings
from model.vaes.space import LatentSpace
from vid_assets.section import Fraction, ModelSource, Section, part


class EncoderSection(ModelSource):
    """An encoder of what conditions the denoiser; its embeddings are stored in its dtype."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @property
    def kept(self) -> Self:
        """What changes its embeddings, beside its weights."""
        return part(self, *(name for name in type(self).model_fields if name not in ModelSource.model_fields))


class TextSection(EncoderSection):
    """What every encoder of captions has. Longer captions are cut, and the metadata says which."""

    max_tokens: int = Field(256, ge=1)


class TextEncoderSection(TextSection):
    """The text encoder whose states, one for each token, condition the denoiser."""

    family: Literal[tuple(TEXT_FAMILIES)] = "t5"  # type: ignore[valid-type]
    skip_layers: int = Field(0, ge=0, description="layers at the end whose states are not used; HunyuanVideo: 2")
    template: str | None = Field(
        None, description="what the caption is put into, {} being the caption; or hunyuan_video for that model's own"
    )

    @field_validator("template")
    @classmethod
    def _one_place(cls, value: str | None) -> str | None:
        if value is not None and value not in NAMED_TEMPLATES and value.count("{}") != 1:
            names = " or ".join(NAMED_TEMPLATES)
            raise ValueError(f"a template has {{}} once, where the caption goes, or is the name {names}")
        return value

    @model_validator(mode="after")
    def _own_template(self) -> TextEncoderSection:
        family, _ = NAMED_TEMPLATES.get(self.template or "", (self.family, None))
        if family != self.family:
            raise ValueError(
                f"template {self.template} counts the tokens of that model's {family}, but family is {self.family}; "
                "write the template out, with {} where the caption goes"
            )
        return self


class PooledTextEncoderSection(TextSection):
    """A second text encoder, of which one pooled state for the whole caption is taken."""

    family: Literal["clip"] = "clip"
    max_tokens: int = Field(77, ge=1)


class ImageEncoderSection(EncoderSection):
    """The encoder that a sample's first frame is embedded with, for models that are conditioned on an image."""

    family: Literal["clip_vision"] = "clip_vision"


class Vae(ModelSource):
    """The VAE whose latent space this home holds, and the encode settings that change its latents."""

    family: Literal[tuple(FAMILIES)] = "hunyuan_video"  # type: ignore[valid-type]
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tiling: bool = False
    settings: dict[str, bool | int | float] = Field({}, description="other encode settings than diffusers' defaults")
    note: str | None = Field(None, description="shown in metadata, e.g. 'untrained'; not part of any key")

    @model_validator(mode="after")
    def _known_settings(self) -> Vae:
        encode_settings(self.family, self.tiling, self.settings)
        return self


class Encoding(Section):
    """What is stored as a latent, and how the work is cut. The second kind, from `backend` on, changes no latent."""

    posterior: Literal["moments", "mean"] = Field("moments", description="mean and log variance, or the mean alone")
    dtype: Literal["float16", "float32", "bfloat16"] = Field(
        "float16", description="type of the stored values; one that is too large for it is a failed row"
    )
    first_frames: bool = Field(
        False, description="the first frame of each kept clip is an image sample too, in the image buckets"
    )
    backend: Literal["local", "ray"] = Field("local", description="ray needs the extra of that name")
    ray_actors: int | None = Field(None, ge=1, description="processes with a VAE each; null: one for each GPU, or one")
    batch_size: int = Field(4, ge=1, description="windows of one shape that are encoded at a time")
    flush_rows: int = Field(64, ge=1, description="latents written in one commit: what a killed run may lose")
    decoders: int | None = Field(None, ge=1, description="sources decoded at a time; null: half of the cores, up to 8")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1, description="torch threads; null leaves torch's choice")
    audit: int = Field(4, ge=0, description="latents of a batch that are decoded and compared with the source")
    psnr_min: float | None = Field(None, gt=0, description="dB; the audit warns where the median is below")
    psnr_drop_max: float = Field(1.0, ge=0, description="dB below what the same windows had; more is a warning")


class Windows(Section):
    """Which stretches of a kept clip become training samples; no cut, gap or repeated frame lies inside any."""

    motion_share_min: Fraction | None = Field(0.5, description="share of a window's time in which something moves")


_BUCKET = re.compile(r"^(\d+)x(\d+)x(\d+)(?:@(\d+(?:\.\d+)?))?$")


class Bucket(Section):
    """A shape that training batches have: frames x height x width at a frame rate. One frame is an image."""

    frames: int = Field(ge=1)
    height: int = Field(ge=8)
    width: int = Field(ge=8)
    fps: float | None = Field(None, gt=0)

    @property
    def name(self) -> str:
        """The bucket in the grammar of the config, e.g. `17x96x128@8`; an image has no rate."""
        rate = f"@{self.fps:g}" if self.fps else ""
        return f"{self.frames}x{self.height}x{self.width}{rate}"

    @property
    def kind(self) -> str:
        """`image` for one frame, else `video`."""
        return "image" if self.frames == 1 else "video"

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """Read `FRAMESxHEIGHTxWIDTH@FPS`; videos need a rate, images must not have one."""
        match = _BUCKET.match(text)
        if not match:
            raise ValueError(
                f"{text!r} is no bucket; write frames x height x width @ fps, such as 17x96x128@8 or 1x96x128"
            )
        frames, height, width = (int(match[i]) for i in (1, 2, 3))
        fps = float(match[4]) if match[4] else None
        if frames == 1 and fps:
            raise ValueError(f"{text!r}: an image bucket has no frame rate; write 1x{height}x{width}")
        if frames > 1 and not fps:
            raise ValueError(f"{text!r}: a video bucket needs its frame rate, such as {frames}x{height}x{width}@24")
        if not frames or height < 8 or width < 8:
            raise ValueError(f"{text!r}: a bucket has at least 1 frame of 8x8 pixels")
        return cls(frames=frames, height=height, width=width, fps=fps)

    def check(self, space: LatentSpace) -> None:
        """Raise a `ValueError` that names the valid neighbours where `space` cannot hold a latent of this bucket."""
        if self.height % space.sides or self.width % space.sides:
            raise ValueError(
                f"{self.name!r}: height and width must be multiples of {space.sides} for {space.family} "
                f"({space.spatial}x VAE, {space.patch}x patches)"
            )
        try:
            space.latent_shape(self.frames, self.height, self.width)
        except ValueError as error:
            raise ValueError(f"{self.name!r}: {error}") from None
