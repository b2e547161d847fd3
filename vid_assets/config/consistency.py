"""What the sections must keep together: each experiment, the latent space and the encoders of its home, the stages.

Each function raises a `ValueError` whose message begins with the path of the key that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from model.denoisers import PRESETS
from model.denoisers.base import Preset
from model.recipe import Evaluation, eight_bit_is_cut
from model.vaes import FAMILIES, encode_settings, latent_space
from vid_assets.config.curriculum import Stage
from vid_assets.config.experiments import Experiment
from vid_assets.config.training import Train
from vid_assets.encoding.settings import ImageEncoderSection, PooledTextEncoderSection, TextEncoderSection, Vae

_ELSEWHERE = "use another preset, or another VID_ASSETS_HOME"


class Encoders(NamedTuple):
    """What encodes samples in a home."""

    vae: Vae
    text: TextEncoderSection | None
    pooled: PooledTextEncoderSection | None
    image: ImageEncoderSection | None


def check_stages(stages: Sequence[Stage], vae: Vae, train: Train) -> None:
    """Names differ, buckets fit the latent space, and batches divide among the processes."""
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise ValueError(f"stages: names must differ, got {', '.join(names)}")
    space, processes = latent_space(vae.family), train.processes or 1
    for index, stage in enumerate(stages):
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


def check_evaluation(evaluation: Evaluation, vae: Vae) -> None:
    """The VAE can decode as the evaluation asks for."""
    try:
        encode_settings(vae.family, evaluation.decode_tiling)
    except ValueError:
        raise ValueError(f"evaluation.decode_tiling: the VAE of {vae.family} cannot work in tiles; use false") from None


def check_experiments(experiments: Mapping[str, Experiment], made: Encoders, train: Train) -> None:
    """Each experiment fits the latent space and the encoders of its home, and its adapters its weights."""
    for name, experiment in experiments.items():
        path, preset = f"experiments.{name}", PRESETS[experiment.model]
        _check_latents(made.vae, path, preset)
        _check_encoders(made, path, preset)
        _check_image(path, preset, experiment)
        if experiment.lora and not experiment.weights:
            raise ValueError(f"{path}.lora: adapters need weights to adapt; set {path}.weights, or remove lora")
        if cut := eight_bit_is_cut(experiment.optimizer, train, "train"):
            raise ValueError(f"{path}.optimizer.name: {cut}")


def _check_latents(vae: Vae, path: str, preset: Preset) -> None:
    if preset.latent_family != vae.family:
        raise ValueError(
            f"{path}.model: {preset.name} needs latents of {preset.latent_family}, but this home's vae.family is "
            f"{vae.family}; {_ELSEWHERE}, or none (experiments: {{}}) to make latents alone"
        )


def _check_encoders(made: Encoders, path: str, preset: Preset) -> None:
    _, text, pooled, image = made
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
    if preset.image_states and not image:
        raise ValueError(
            f"{path}.model: {preset.name} reads the embedding of the first frame; add the section image_encoder"
        )


def _check_image(path: str, preset: Preset, experiment: Experiment) -> None:
    wanted = experiment.conditioning
    if preset.image_conditioning == "first_frame" and wanted == "none":
        raise ValueError(f"{path}.image_conditioning: {preset.name} is always given the first frame; use first_frame")
    if wanted == "first_frame" and not latent_space(preset.latent_family).image_is_first_latent:
        able = ", ".join(name for name, family in FAMILIES.items() if family.spaces[0].image_is_first_latent)
        raise ValueError(
            f"{path}.image_conditioning: first_frame needs a VAE whose latent of a still is a video's first latent "
            f"({able}); that of {preset.latent_family} is not one; use none"
        )
