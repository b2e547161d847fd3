"""What a checkpoint can do: its loss on held-out samples, and videos that it generates.

Everything is fixed by `evaluation.seed`, so two checkpoints are compared on the same noise. torch is imported inside
the functions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoint import atomic_folder, write_json
from model.errors import ModelError
from model.manifest import check_evaluate
from model.weights import weights_hash

if TYPE_CHECKING:
    import torch

    from model.data import Sample, TrainingSet

#: Bump by hand when the same checkpoint gets other numbers or videos.
EVALUATE_CODE_VERSION = "1"

#: Times at which the held-out loss is measured, before the shift: the middles of five equal parts.
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)


class EvaluationError(ModelError):
    """The checkpoint cannot be evaluated as asked; the message says why."""


def evaluate(manifest: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the EMA weights of a checkpoint and write its videos to `output`.

    Args:
        manifest: `training_set`, `vae` and `recipe` as in a training manifest (of the recipe, model and objective are
            read), `checkpoint` (a `final` folder), `evaluation` (videos, sampling_steps, fps, seed), `output`, and
            optionally `runtime` (device, threads).

    Returns:
        heldout_loss: mean squared error over all held-out samples and `TIMES`; None where nothing is held out.
        heldout_samples: their number. heldout_loss_by_time: the loss at each shifted time.
        bucket: the bucket that was generated, the largest video bucket (or image bucket, where no video is trained on).
        note: what could not be measured, in words, or None.
        videos: one dict for each picture sequence, generated ones and the data beside them: name, kind (`generated` or
            `data`), path, gif (None for a still), frames (uint8 (F, H, W, 3)), caption_key, sample_id (of the data; the
            generated one has its caption).

        All but `frames` is also in `output/evaluation.json`.

    Raises:
        ModelError: the manifest, the checkpoint, the VAE or the data cannot be used.
    """
    import torch

    from model import denoiser
    from model.data import TrainingSet
    from model.objective import FlowMatching
    from model.vae import pick_device
    from model.vae_folder import Normalisation

    check_evaluate(manifest)
    runtime = manifest.get("runtime") or {}
    if runtime.get("threads"):
        torch.set_num_threads(runtime["threads"])
    device = pick_device(runtime.get("device") or "cpu")
    ema = Path(manifest["checkpoint"]) / "ema"
    if not (ema / "config.json").is_file():
        raise EvaluationError(f"{manifest['checkpoint']}: no finished checkpoint, it has no folder ema")
    channels = Normalisation.read(manifest["vae"]["normalisation"]).channels
    data = TrainingSet(manifest["training_set"], channels)
    model: Any = denoiser.load(ema)
    model = model.to(device).eval().requires_grad_(False)
    settings = manifest["recipe"]["objective"]
    objective = FlowMatching(settings["shift"], settings["time_sampling"])
    with torch.inference_mode():
        result = _heldout_loss(manifest, data, model, objective, device)
        result |= _videos(manifest, data, model, objective, device)
    _write(manifest, result)
    return result


def _heldout_loss(
    manifest: dict[str, Any], data: TrainingSet, model: Any, objective: Any, device: str
) -> dict[str, Any]:
    """The loss at fixed times on fixed noise; each sample alone, so that no other one changes its text padding."""
    import torch

    from model.denoiser import predict
    from model.vae import sample_and_normalise
    from model.vae_folder import Normalisation

    normalisation = Normalisation.read(manifest["vae"]["normalisation"])
    times = objective.shifted(torch.tensor(TIMES))
    losses = []
    for sample in data.split("heldout"):
        batch = data.read([sample.sample_id])
        latent = sample_and_normalise(batch.latents, normalisation).expand(len(times), -1, -1, -1, -1)
        noise = torch.randn(latent.shape, generator=_generator(manifest, sample.sample_id))
        texts = batch.texts * len(times)
        losses.append(
            objective.loss(
                lambda noisy, at, texts=texts: predict(model, noisy, at, texts),
                latent.to(device),
                noise.to(device),
                times.to(device),
            ).cpu()
        )
    if not losses:
        note = "no sample of this training set is held out, so there is no held-out loss"
        return {"heldout_loss": None, "heldout_samples": 0, "heldout_loss_by_time": None, "note": note}
    by_time = torch.stack(losses).double().mean(0)
    return {
        "heldout_loss": float(by_time.mean()),
        "heldout_samples": len(losses),
        "heldout_loss_by_time": {f"{time:.3f}": float(loss) for time, loss in zip(times, by_time, strict=True)},
        "note": None,
    }


def _videos(manifest: dict[str, Any], data: TrainingSet, model: Any, objective: Any, device: str) -> dict[str, Any]:
    import torch

    from model.denoiser import predict
    from model.vae import decode, load_vae, sample_and_normalise
    from model.vae_folder import Normalisation

    normalisation = Normalisation.read(manifest["vae"]["normalisation"])
    settings, family = manifest["evaluation"], manifest["vae"]["family"]
    samples = _samples_to_show(data, settings["videos"])
    if not samples:
        return {"bucket": None, "videos": []}
    folder = Path(manifest["vae"]["path"])
    if weights_hash(folder) != manifest["vae"]["weights_hash"]:
        raise EvaluationError(f"{folder}: not the VAE that the latents were made with; its weights hash differs")
    vae = load_vae(folder, "float32", device, False, family)

    videos: list[dict[str, Any]] = []
    for index in range(settings["videos"]):
        sample = samples[index % len(samples)]
        batch = data.read([sample.sample_id])
        latent = sample_and_normalise(batch.latents, normalisation)
        noise = torch.randn(latent.shape, generator=_generator(manifest, f"video-{index}")).to(device)
        made = objective.generate(
            lambda noisy, at, texts=batch.texts: predict(model, noisy, at, texts), noise, settings["sampling_steps"]
        )
        common = {"sample_id": sample.sample_id, "caption_key": sample.caption_key, "split": sample.split}
        pairs = [("generated", f"video-{index:02d}", made)]
        if index < len(samples):  # each data sample once, though several videos may be made for it
            pairs.append(("data", f"data-{index:02d}", latent))
        for kind, name, latents in pairs:
            frames = decode(vae, latents, normalisation, family)[0]
            videos.append({"name": name, "kind": kind, "frames": frames, **common})
    return {"bucket": samples[0].bucket, "videos": videos}


def _samples_to_show(data: TrainingSet, count: int) -> list[Sample]:
    """Up to `count` samples of the largest bucket, held-out ones first, those with a caption first among them."""
    if not count:
        return []
    videos = [sample for sample in data.samples.values() if sample.kind == "video"]
    candidates = videos or list(data.samples.values())
    largest = max((int(np.prod(sample.shape)), sample.bucket) for sample in candidates)[1]
    candidates = [sample for sample in candidates if sample.bucket == largest]
    candidates.sort(key=lambda sample: (sample.split != "heldout", sample.embedding_key is None, sample.sample_id))
    return candidates[:count]


def _write(manifest: dict[str, Any], result: dict[str, Any]) -> None:
    """Write every sequence, and `evaluation.json`, as one atomic folder; adds `path` and `gif` to each sequence."""
    from model.video_files import write_gif, write_mp4, write_png

    output, fps = Path(manifest["output"]), manifest["evaluation"]["fps"]
    with atomic_folder(output, replace=True) as folder:
        for video in result["videos"]:
            name, frames = video["name"], video["frames"]
            if len(frames) == 1:
                write_png(folder / f"{name}.png", frames[0])
                video["path"], video["gif"] = str(output / f"{name}.png"), None
            else:
                write_mp4(folder / f"{name}.mp4", frames, fps)
                write_gif(folder / f"{name}.gif", frames, fps)
                video["path"], video["gif"] = str(output / f"{name}.mp4"), str(output / f"{name}.gif")
        listed = [{key: value for key, value in video.items() if key != "frames"} for video in result["videos"]]
        write_json(folder / "evaluation.json", {**result, "videos": listed})


def _generator(manifest: dict[str, Any], name: str) -> torch.Generator:
    import torch

    digest = hashlib.sha256(f"{manifest['evaluation']['seed']}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
