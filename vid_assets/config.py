"""The sections of the one configuration file: their keys, defaults and limits.

Every section is a strict pydantic model; `config_file` reads the file and turns what is wrong into words. Nothing here
imports Dagster or anything heavy. Which section enters which asset's fingerprint is decided in `vid_assets.stages`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.latent_space import FAMILIES, LatentSpace, encode_settings, latent_space

#: Latent space that each denoiser preset was designed for, and the kind of text states that it reads.
#: Kept here, not in `model/`, because a preset that wants another latent space is refused at config load.
MODEL_PRESETS: dict[str, dict[str, str]] = {
    "tiny-dit": {"latent_family": "hunyuan_video", "text_family": "t5"},
}

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """The configuration file cannot be used; the message names each key and what is allowed there."""


class Section(BaseModel):
    """Base of every section: strict, immutable, and documented by its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


class Source(Section):
    """One place that footage comes from: a folder, as a path or an fsspec URI."""

    uri: str = Field(min_length=1)
    include: tuple[str, ...] = ("**/*",)
    exclude: tuple[str, ...] = ()


class Batching(Section):
    """How new files are grouped into ingest batches. A batch is closed by whichever limit comes first."""

    max_files: int = Field(64, ge=1)
    max_bytes: int = Field(20_000_000_000, ge=1)


class Ingest(Section):
    """Watching for new footage: a file is taken once its size was unchanged for `settle_s` seconds."""

    settle_s: float = Field(5.0, ge=0.0)
    sensor_interval_s: int = Field(30, ge=1)
    watch: bool = Field(False, description="start the sensors with the daemon, without a click in the web UI")
    readable_share_min: Fraction = Field(0.5, description="a batch with fewer readable files stops there")


class Decoding(Section):
    """What reading one file may cost, in a process of its own, before it is given up as a row with that reason.

    A file that failed by a limit is tried again once that limit is raised.
    """

    memory_gb: float = Field(6.0, ge=0.5, description="memory that reading a file may take, beside the code itself")
    max_pixels: int = Field(120_000_000, ge=1, description="width x height of a picture as displayed")
    max_hours: float = Field(48.0, gt=0, description="length that a header may claim")
    stall_s: float = Field(120.0, gt=0, description="seconds without a packet or frame")
    time_limit_s: float = Field(1800.0, gt=0, description="seconds for a file, besides 20 for each second of footage")


class Shots(Section):
    """Where a source is divided into clips. Adaptive threshold, window and length as swept for PySceneDetect."""

    splitter: Literal["adaptive", "transnet", "none"] = Field(
        "adaptive", description="transnet needs the extra of that name; none is for footage that is cut already"
    )
    adaptive_threshold: float = Field(3.5, gt=0)
    adaptive_window: int = Field(3, ge=1, description="frames on each side")
    min_content_delta: float = Field(15.0, ge=0, description="mean difference a cut has at least, 0-255")
    fade_luma: float = Field(12.0, ge=0, le=255, description="luma up to which a plain picture is black, 0-255")
    transnet_threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a frame is in a transition")
    trim_s: float = Field(0.1, ge=0, description="left out on each side of a cut or transition")
    max_clip_s: float = Field(16.0, gt=0, description="longer shots are divided, never rejected")
    divide_slack: Fraction = Field(0.25, description="room to divide where motion is least, as a share of a clip")


class Policy(Section):
    """Limits that a clip must keep. A rule set to null is switched off. Units are in `curation.policy.RULES`."""

    decoded_ratio_min: float | None = Field(0.98, ge=0, le=1)
    corrupt_frames_max: float | None = Field(0, ge=0)
    duration_min: float | None = Field(2.0, ge=0)
    fps_min: float | None = Field(16.0, ge=0)
    bits_per_pixel_min: float | None = Field(0.02, ge=0)
    aspect_min: float | None = Field(1 / 3, gt=0)
    aspect_max: float | None = Field(3.0, gt=0)
    short_side_min: float | None = Field(256, ge=1)
    residual_cut_max: float | None = Field(1.0, ge=0)
    near_duplicate_share_max: float | None = Field(0.25, ge=0, le=1)
    longest_freeze_max: float | None = Field(0.5, ge=0)
    timestamp_step_max: float | None = Field(2.5, ge=1)
    flicker_max: float | None = Field(3.0, ge=0)
    luma_min: float | None = Field(20.0, ge=0, le=255)
    luma_max: float | None = Field(180.0, ge=0, le=255)
    black_share_max: float | None = Field(0.05, ge=0, le=1)
    clipped_share_max: float | None = Field(0.05, ge=0, le=1)
    sharpness_min: float | None = Field(60.0, ge=0)
    motion_min: float | None = Field(0.0001, ge=0)
    motion_max: float | None = Field(0.15, ge=0)
    motion_share_min: float | None = Field(0.25, ge=0, le=1)
    shake_max: float | None = Field(0.004, ge=0)
    shot_rate_max: float | None = Field(0.85, gt=0)
    kept_area_min: float | None = Field(0.6, ge=0, le=1)


class Duplicates(Section):
    """Near duplicates: clips whose perceptual hashes differ in at most `max_distance` of 64 bits, most of the time."""

    max_distance: int = Field(6, ge=0, le=7)


class ModelSource(Section):
    """Pretrained weights: a local folder, or a repository of the model hub with its revision."""

    source: str = Field(min_length=1)
    revision: str | None = None
    subfolder: str | None = None


class Encoder(ModelSource):
    """An encoder of what conditions the denoiser; its embeddings are stored in its dtype."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @property
    def settings(self) -> dict[str, Any]:
        """What changes its embeddings, beside its weights."""
        return self.model_dump(exclude=set(ModelSource.model_fields))


class TextSource(Encoder):
    """What every encoder of captions has. Longer captions are cut, and the metadata says which."""

    max_tokens: int = Field(256, ge=1)


class TextEncoder(TextSource):
    """The text encoder whose states, one for each token, condition the denoiser."""

    family: Literal["t5", "umt5", "clip", "llama"] = "t5"
    skip_layers: int = Field(0, ge=0, description="layers at the end whose states are not used; HunyuanVideo: 2")
    template: str | None = Field(
        None, description="what the caption is put into, {} being the caption; or hunyuan_video for that model's own"
    )

    @field_validator("template")
    @classmethod
    def _one_place(cls, value: str | None) -> str | None:
        if value is not None and value != "hunyuan_video" and value.count("{}") != 1:
            raise ValueError("a template has {} once, where the caption goes, or is the name hunyuan_video")
        return value

    @model_validator(mode="after")
    def _own_template(self) -> TextEncoder:
        if self.template == "hunyuan_video" and self.family != "llama":
            raise ValueError(
                f"template hunyuan_video counts the tokens of that model's llama, but family is {self.family}; write "
                "the template out, with {} where the caption goes"
            )
        return self


class PooledTextEncoder(TextSource):
    """A second text encoder, of which one pooled state for the whole caption is taken."""

    family: Literal["clip"] = "clip"
    max_tokens: int = Field(77, ge=1)


class ImageEncoder(Encoder):
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


class Stage(Section):
    """One stage of the curriculum: what it trains on, for how long, and from which weights it starts."""

    name: Name
    buckets: tuple[str, ...] = Field(min_length=1)
    image_share: Fraction = Field(0.0, description="declared share of training that is images")
    share_unit: Literal["samples", "tokens"] = Field(
        "samples", description="what image_share is a share of: samples, or tokens (positions of the latents)"
    )
    steps: int = Field(ge=1)
    batch_size: int = Field(4, ge=1)
    lr: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(10, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.98, ge=0, lt=1)
    start_from: Literal["ema", "raw"] = Field("ema", description="which weights of the stage before")
    checkpoint_every: int = Field(100, ge=1)

    @field_validator("buckets")
    @classmethod
    def _buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(Bucket.parse(text).name for text in value)
        if len(set(names)) != len(names):
            raise ValueError("a bucket is listed twice")
        return names

    @model_validator(mode="after")
    def _mix(self) -> Stage:
        kinds = {bucket.kind for bucket in self.parsed_buckets}
        if self.image_share > 0 and "image" not in kinds:
            raise ValueError(
                f"image_share is {self.image_share:g}, but no bucket has one frame; add one such as 1x96x128"
            )
        if self.image_share < 1 and "video" not in kinds:
            raise ValueError(
                f"image_share is {self.image_share:g}, but no bucket is a video; add one or set image_share: 1"
            )
        if self.image_share == 0 and "image" in kinds:
            raise ValueError("an image bucket is listed, but image_share is 0; declare the share or remove the bucket")
        if self.image_share == 1 and "video" in kinds:
            raise ValueError("a video bucket is listed, but image_share is 1; declare the share or remove the bucket")
        return self

    @property
    def parsed_buckets(self) -> tuple[Bucket, ...]:
        return tuple(Bucket.parse(text) for text in self.buckets)


class Objective(Section):
    """What the denoiser learns. Flow matching: target = noise - data, with a time shift."""

    name: Literal["flow_matching"] = "flow_matching"
    shift: float = Field(3.0, gt=0)
    time_sampling: Literal["logit_normal", "uniform"] = "logit_normal"


class Experiment(Section):
    """A training recipe; one partition of the training assets."""

    model: Literal[tuple(MODEL_PRESETS)] = "tiny-dit"  # type: ignore[valid-type]
    objective: Objective = Objective()
    seed: int = 0
    caption_dropout: Fraction = 0.1
    weight_decay: float = Field(0.01, ge=0)


class Train(Section):
    """How training runs are started. None of this changes what is learned."""

    automatic: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0, description="processes that read batches ahead; 0: a thread, mostly faster")


class Heldout(Section):
    """Share of the videos kept out of training, chosen by a hash that never changes."""

    share: Fraction = 0.1
    minimum: int = Field(0, ge=0, description="at least so many held-out groups, taken in hash order")


class Evaluation(Section):
    """What is generated and measured after each stage."""

    videos: int = Field(2, ge=0)
    sampling_steps: int = Field(20, ge=1)
    fps: int = Field(8, ge=1)
    seed: int = 0


class Schedule(Section):
    """When the nightly job runs, and whether it is on without a click in the web UI."""

    enabled: bool = False
    cron: str = "0 2 * * *"
    timezone: str = "UTC"


class Config(Section):
    """The whole file. `sources`, `vae`, `stages` and `experiments` have no default: they are yours to say."""

    sources: tuple[Source, ...] = Field(min_length=1)
    batching: Batching = Batching()
    ingest: Ingest = Ingest()
    decoding: Decoding = Decoding()
    shots: Shots = Shots()
    policy: Policy = Policy()
    duplicates: Duplicates = Duplicates()
    vae: Vae
    text_encoder: TextEncoder | None = None
    pooled_text_encoder: PooledTextEncoder | None = None
    image_encoder: ImageEncoder | None = None
    encoding: Encoding = Encoding()
    windows: Windows = Windows()
    stages: tuple[Stage, ...] = Field(min_length=1)
    experiments: dict[Name, Experiment] = Field(description="may be empty: nothing is trained then")
    train: Train = Train()
    heldout: Heldout = Heldout()
    evaluation: Evaluation = Evaluation()
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: names must differ, got {', '.join(names)}")
        for index, stage in enumerate(self.stages):
            for bucket in stage.parsed_buckets:
                try:
                    bucket.check(latent_space(self.vae.family))
                except ValueError as error:
                    raise ValueError(f"stages[{index}].buckets: {error}") from None
        for name, experiment in self.experiments.items():
            wants = MODEL_PRESETS[experiment.model]
            if wants["latent_family"] != self.vae.family:
                raise ValueError(
                    f"experiments.{name}.model: {experiment.model} needs latents of {wants['latent_family']}, but this "
                    f"home's vae.family is {self.vae.family}; use another preset, or another VID_ASSETS_HOME, or none "
                    "(experiments: {}) to make latents alone"
                )
            if self.text_encoder and wants["text_family"] != self.text_encoder.family:
                raise ValueError(
                    f"experiments.{name}.model: {experiment.model} needs text states of {wants['text_family']}, but "
                    f"text_encoder.family is {self.text_encoder.family}; use another preset, or another VID_ASSETS_HOME"
                )
        return self

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Every bucket that some stage trains on, once, in order of name."""
        return tuple(Bucket.parse(name) for name in sorted({name for stage in self.stages for name in stage.buckets}))

    def stage(self, name: str) -> Stage:
        """The stage called `name`."""
        return next(stage for stage in self.stages if stage.name == name)

    def previous_stage(self, name: str) -> Stage | None:
        """The stage whose checkpoint `name` starts from, None for the first."""
        names = [stage.name for stage in self.stages]
        index = names.index(name)
        return self.stages[index - 1] if index else None
