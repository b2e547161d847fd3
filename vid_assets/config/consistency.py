"""What the sections must keep together: each experiment, the latent space and the encoders of its home, the stages.

Each function raises a `ValueError` whose message begins with the path of the key that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.latent_space import FAMILIES, encode_settings, latent_space
from model.presets import PRESETS, Preset

if TYPE_CHECKING:
    from vid_assets.config import Config
    from vid_assets.config.experiments import Experiment

_ELSEWHERE = "use another preset, or another VID_ASSETS_HOME"


def check_stages(config: Config) -> None:
    """Names differ, buckets fit the latent space, and batches divide among the processes."""
    names = [stage.name for stage in config.stages]
    if len(set(names)) != len(names):
        raise ValueError(f"stages: names must differ, got {', '.join(names)}")
    space, processes = latent_space(config.vae.family), config.train.processes or 1
    for index, stage in enumerate(config.stages):
        for bucket in stage.parsed_buckets:
            try:
                bucket.check(space)
            except ValueError as error:
                raise ValueError(f"stages[{index}].buckets: {error}") from None
        for name, size in stage.batch_sizes.items():
            if size % processes:
                where = f".{name}" if isinstance(stage.batch_size, dict) else ""
                raise ValueError(
                    f"stages[{index}].batch_size{where}: {size} samples do not divide among train.processes: "
                    f"{processes}; use a multiple of {processes}"
                )


def check_evaluation(config: Config) -> None:
    """The VAE can decode as the evaluation asks for."""
    try:
        encode_settings(config.vae.family, config.evaluation.decode_tiling)
    except ValueError:
        raise ValueError(
            f"evaluation.decode_tiling: the VAE of {config.vae.family} cannot work in tiles; use false"
        ) from None


def check_experiments(config: Config) -> None:
    """Each experiment fits the latent space and the encoders of its home, and its adapters its weights."""
    for name, experiment in config.experiments.items():
        path, preset = f"experiments.{name}", PRESETS[experiment.model]
        _check_latents(config, path, preset)
        _check_encoders(config, path, preset)
        _check_image(path, preset, experiment)
        if experiment.lora and not experiment.weights:
            raise ValueError(f"{path}.lora: adapters need weights to adapt; set {path}.weights, or remove lora")
        if experiment.optimizer.name == "adamw_8bit" and config.train.engine == "fsdp2" and config.train.processes != 1:
            raise ValueError(
                f"{path}.optimizer.name: adamw_8bit works in blocks that train.engine: fsdp2 would cut apart; use "
                "adamw or adamw_fused, whose state fsdp2 divides, or train.engine: ddp"
            )


def _check_latents(config: Config, path: str, preset: Preset) -> None:
    if preset.latent_family != config.vae.family:
        raise ValueError(
            f"{path}.model: {preset.name} needs latents of {preset.latent_family}, but this home's vae.family is "
            f"{config.vae.family}; {_ELSEWHERE}, or none (experiments: {{}}) to make latents alone"
        )


def _check_encoders(config: Config, path: str, preset: Preset) -> None:
    text, pooled = config.text_encoder, config.pooled_text_encoder
    if text and preset.text_family is None:
        raise ValueError(
            f"{path}.model: {preset.name} reads no text, but text_encoder is set; remove that section, or {_ELSEWHERE}"
        )
    if text and preset.text_family != text.family:
        raise ValueError(
            f"{path}.model: {preset.name} needs text states of {preset.text_family}, but text_encoder.family is "
            f"{text.family}; {_ELSEWHERE}"
        )
    if text and preset.text_tokens and text.max_tokens > preset.text_tokens:
        raise ValueError(
            f"text_encoder.max_tokens is {text.max_tokens}, but {path}.model: {preset.name} reads {preset.text_tokens} "
            f"states of a text at most; set it to {preset.text_tokens} or less"
        )
    if preset.pooled and bool(text) != bool(pooled):
        there, lacking = ("text_encoder", "pooled_text_encoder")[:: 1 if text else -1]
        raise ValueError(f"{path}.model: {preset.name} reads {there} and {lacking} together; add the section {lacking}")
    if preset.image_states and not config.image_encoder:
        raise ValueError(
            f"{path}.model: {preset.name} reads the embedding of the first frame; add the section image_encoder"
        )


def _check_image(path: str, preset: Preset, experiment: Experiment) -> None:
    wanted = experiment.conditioning
    if preset.image_conditioning == "first_frame" and wanted == "none":
        raise ValueError(f"{path}.image_conditioning: {preset.name} is always given the first frame; use first_frame")
    if wanted == "first_frame" and not latent_space(preset.latent_family).image_is_first_latent:
        able = ", ".join(family for family, spaces in FAMILIES.items() if spaces[0].image_is_first_latent)
        raise ValueError(
            f"{path}.image_conditioning: first_frame needs a VAE whose latent of a still is a video's first latent "
            f"({able}); that of {preset.latent_family} is not one; use none"
        )
