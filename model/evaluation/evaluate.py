"""What a checkpoint can do: its loss on held-out samples, and videos that it generates, beside the data and others'.

Everything random is fixed by `evaluation.seed` and a sample's id, so that two checkpoints are compared on the same
noise. One model is in memory at a time, and the VAE after the last of them. torch is imported inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoint import atomic_folder, read_record, write_json
from model.errors import ModelError
from model.evaluation.motion import motion, motion_ratio
from model.manifest import EvaluationManifest, VaeSpec, check_evaluate
from model.recipe import Denoiser, Evaluation
from model.weights import weights_hash

if TYPE_CHECKING:
    import torch

    from model.data.training_set import Sample, TrainingSet
    from model.vaes.space import Normalisation

#: Bump by hand when the same checkpoint gets other numbers or videos.
EVALUATE_CODE_VERSION = "2"


class EvaluationError(ModelError):
    """The checkpoint cannot be evaluated as asked; the message says why."""


@dataclass(frozen=True)
class _Checkpoint:
    """A finished checkpoint: its `final` folder, and the recipe that says what denoiser it is."""

    folder: Path
    recipe: Denoiser


@dataclass(frozen=True)
class _Setting:
    """What all checkpoints of one evaluation are measured on."""

    data: TrainingSet
    normalisation: Normalisation
    settings: Evaluation
    device: str
    shown: list[Sample]


def evaluate(document: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the EMA weights of a checkpoint, and of those to compare it with, and write the videos to `output`.

    Args:
        document: an `EvaluationManifest` as JSON: `training_set`, `vae` and `recipe` as in a training manifest,
            `checkpoint` (a `final` folder), `evaluation`, `output`, and optionally `runtime` (device, threads) and
            `compare`, a list of {name, folder}: other finished checkpoints of the same latent space, such as the parent
            stage's, that are given the same samples and noise.

    Returns:
        heldout_loss: mean squared error over all held-out samples and five fixed times; None where nothing is held out.
        heldout_samples: their number. heldout_loss_by_time: the loss at each time, by the share of the training times
            below it; heldout_loss_by_bucket: that of each bucket. None where nothing is held out.
        motion, data_motion: mean `motion.motion` of the generated videos and of the data beside them, and
            motion_ratio, one over the other; None where stills were generated, or nothing.
        bucket: the bucket that was generated, the largest video bucket (or image bucket, where no video is trained on).
        note: what could not be measured, in words, or None.
        videos: one dict for each picture sequence, generated ones and the data beside them: name, kind (`generated` or
            `data`), path, gif (None for a still), frames (uint8 (F, H, W, 3)), motion, caption_key, sample_id (of the
            data; the generated one has its caption and, where the model takes one, its first frame), split.
        compare: for each checkpoint to compare with: name, folder, weights_hash and all of the above but note, bucket
            and data_motion; its videos are the generated ones.

        All but `frames` is also in `output/evaluation.json`.

    Raises:
        ModelError: the manifest, a checkpoint, the VAE or the data cannot be used.
    """
    import torch

    from model.compute.numerics import pick_device
    from model.data.training_set import TrainingSet

    manifest = check_evaluate(document)
    if manifest.runtime.threads:
        torch.set_num_threads(manifest.runtime.threads)
    checkpoints = [_Checkpoint(_whole(Path(manifest.checkpoint)), manifest.recipe)]
    others = [(other, read_record(_whole(Path(other.folder)))) for other in manifest.compare]
    checkpoints += [_Checkpoint(Path(other.folder), record.denoiser()) for other, record in others]
    how = manifest.vae.normalisation
    data = TrainingSet(manifest.training_set, how.channels)
    shown = _samples_to_show(data, manifest.evaluation.videos)
    device = pick_device(manifest.runtime.device)
    setting = _Setting(data, how, manifest.evaluation, device, shown)
    if shown:
        _check_vae(manifest.vae)

    losses, latents = zip(*[_measure(checkpoint, setting) for checkpoint in checkpoints], strict=True)
    prefixes = ["", *[f"compare{index}-" for index in range(len(others))]]
    decode: Any = _decoder(manifest, device) if shown else None
    generated = [
        [
            _video(f"{prefix}video-{index:02d}", "generated", decode(one), shown[index % len(shown)], setting)
            for index, one in enumerate(made)
        ]
        for prefix, made in zip(prefixes, latents, strict=True)
    ]
    beside = [
        _video(f"data-{index:02d}", "data", decode(_latent(setting, sample)), sample, setting)
        for index, sample in enumerate(shown)
    ]
    measured = [_numbers(loss, videos, beside) for loss, videos in zip(losses, generated, strict=True)]
    result = {
        **measured[0],
        "videos": _side_by_side(generated[0], beside),
        "data_motion": _mean([video["motion"] for video in beside]),
        "bucket": shown[0].bucket if shown else None,
        "note": None if losses[0].samples else "no sample of this training set is held out: no held-out loss",
        "compare": [
            {**other.model_dump(), "weights_hash": record.weights_hash, **numbers, "videos": videos}
            for (other, record), numbers, videos in zip(others, measured[1:], generated[1:], strict=True)
        ],
    }
    _write(manifest, result)
    return result


def _whole(folder: Path) -> Path:
    if not (folder / "ema" / "config.json").is_file():
        raise EvaluationError(f"{folder}: no finished checkpoint, it has no folder ema")
    return folder


def _measure(checkpoint: _Checkpoint, setting: _Setting) -> tuple[Any, list[torch.Tensor]]:
    """Held-out loss, and latents (1, C, f, h, w) of each video on the CPU, of the EMA weights of one checkpoint."""
    from model import denoisers
    from model.compute.numerics import autocast
    from model.denoisers import models
    from model.evaluation.heldout import heldout_loss
    from model.evaluation.sampling import generate, seeded_noise
    from model.objectives import make

    recipe, settings, device = checkpoint.recipe, setting.settings, setting.device
    family, objective = denoisers.family(recipe.family), make(recipe.objective)
    model = models.load(checkpoint.folder / "ema", recipe.family).requires_grad_(False)
    family.check(model, setting.normalisation.channels, setting.data.dims, recipe.first_frame)
    model = model.to(device).eval()
    loss = heldout_loss(
        model,
        recipe.model,
        objective,
        setting.data,
        setting.normalisation,
        settings.seed,
        device,
        image_conditioning=recipe.image_conditioning,
        precision=recipe.precision,
    )
    made = []
    for index in range(settings.videos if setting.shown else 0):
        batch = setting.data.read([setting.shown[index % len(setting.shown)].sample_id])
        latent = _latent(setting, batch.samples[0]).to(device)
        conditions = models.conditions(
            batch, recipe.model, device, data=latent, image_conditioning=recipe.image_conditioning
        )
        noise = seeded_noise(settings.seed, f"video-{index}", latent.shape).to(device)
        with autocast(device, recipe.precision):
            video = generate(model, family, objective, conditions, noise, settings.sampling_steps, settings.guidance)
        made.append(video.float().cpu())
    return loss, made


def _latent(setting: _Setting, sample: Sample) -> torch.Tensor:
    """The normalised mean of a sample, (1, C, f, h, w), on the CPU."""
    from model.vaes.backend import sample_and_normalise

    return sample_and_normalise(setting.data.read([sample.sample_id]).latents, setting.normalisation)


def _check_vae(vae: VaeSpec) -> None:
    if weights_hash(vae.path) != vae.weights_hash:
        raise EvaluationError(f"{vae.path}: not the VAE that the latents were made with; its weights hash differs")


def _decoder(manifest: EvaluationManifest, device: str) -> Any:
    """Latents (1, C, f, h, w) -> frames uint8 (F, H, W, 3)."""
    from model.vaes.backend import decode, load_vae

    vae, settings = manifest.vae, manifest.evaluation
    loaded = load_vae(vae.path, vae.family, settings.decode_dtype, device, settings.decode_tiling)
    return lambda latents: decode(loaded, latents, vae.normalisation, vae.family)[0]


def _video(name: str, kind: str, frames: np.ndarray, sample: Sample, setting: _Setting) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "frames": frames,
        "motion": motion(frames, setting.settings.fps),
        "sample_id": sample.sample_id,
        "caption_key": sample.caption_key,
        "split": sample.split,
    }


def _numbers(loss: Any, generated: list[dict[str, Any]], beside: list[dict[str, Any]]) -> dict[str, Any]:
    moved, data_moved = ([video["motion"] for video in videos] for videos in (generated, beside))
    return {
        "heldout_loss": loss.mean,
        "heldout_samples": loss.samples,
        "heldout_loss_by_time": loss.by_time or None,
        "heldout_loss_by_bucket": loss.by_bucket or None,
        "motion": _mean(moved),
        "motion_ratio": motion_ratio(moved, data_moved),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _side_by_side(generated: list[dict[str, Any]], beside: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each generated video followed by its data; each data sample once, though several videos may be made for it."""
    return [video for index, made in enumerate(generated) for video in (made, *beside[index : index + 1])]


def _samples_to_show(data: TrainingSet, count: int) -> list[Sample]:
    """Up to `count` samples of the largest bucket, held-out ones first, those with a caption first among them."""
    if not count:
        return []
    videos = [sample for sample in data.samples.values() if sample.kind == "video"]
    candidates = videos or list(data.samples.values())
    largest = max((int(np.prod(sample.shape)), sample.bucket) for sample in candidates)[1]
    candidates = [sample for sample in candidates if sample.bucket == largest]
    candidates.sort(key=lambda sample: (sample.split != "heldout", "text" not in sample.keys, sample.sample_id))
    return candidates[:count]


def _write(manifest: EvaluationManifest, result: dict[str, Any]) -> None:
    """Write every sequence, and `evaluation.json`, as one atomic folder; adds `path` and `gif` to each sequence."""
    from model.evaluation.video_files import write_sequence

    output, fps = Path(manifest.output), manifest.evaluation.fps
    with atomic_folder(output, replace=True) as folder:
        for video in result["videos"] + [video for other in result["compare"] for video in other["videos"]]:
            file, gif = write_sequence(folder, video["name"], video["frames"], fps)
            video["path"], video["gif"] = str(output / file), str(output / gif) if gif else None
        compare = [_without_frames(other) for other in result["compare"]]
        write_json(folder / "evaluation.json", {**_without_frames(result), "compare": compare})


def _without_frames(result: dict[str, Any]) -> dict[str, Any]:
    kept = [{key: value for key, value in video.items() if key != "frames"} for video in result["videos"]]
    return {**result, "videos": kept}
