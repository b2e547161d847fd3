"""`image_embeddings`: the embedding of each sample's first frame, for models that are conditioned on an image.

The frame is embedded as its latent shows it: cropped and in the size of the bucket. Its key holds what determines its
pixels and nothing of the VAE; windows of several lengths that begin alike share one embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from model.image_encoder import IMAGE_CODE_VERSION
from vid_assets.config import ImageEncoder
from vid_assets.encoding.content_key import clock_digest
from vid_assets.encoding.windows import Window
from vid_assets.project import Project
from vid_assets.steps import embeddings
from vid_assets.steps.frame_stats import openable
from vid_assets.steps.latent_plan import Planned, plan_latents
from vid_assets.steps.latents import statuses
from vid_assets.steps.vae import Weights, weights_of
from vid_assets.store.cache import Output, read_slice, sync_slice
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row, equals

Progress = Callable[[str], None]
_BATCH = 16
#: Parts of a latent's key that determine its pixels, but for which of the source's frames it takes.
_PIXELS = ("source_hash", "stream_index", "rotation", "start_s", "height", "width", "transform", "decoder")


def _encoder(project: Project) -> ImageEncoder:
    section = project.config.image_encoder
    assert section is not None, "the stage exists only where an image encoder is configured"
    return section


def _still(one: Planned) -> Window:
    """The first frame of a window, as a window of its own."""
    bucket = one.window.bucket
    return Window(bucket.model_copy(update={"frames": 1, "fps": None}), one.window.start_s, 0)


def image_key(one: Planned, encoder_hash: str, encoder: ImageEncoder) -> str:
    """Key of the embedding of a sample's first frame: its pixels, the encoder and the settings that change it."""
    pixels = {name: getattr(one.parts, name) for name in _PIXELS}
    pixels["clock"] = clock_digest(one.timestamps, _still(one).times_s)
    return digest(["image", pixels, encoder_hash, encoder.settings, IMAGE_CODE_VERSION])


def _wanted(project: Project, batch: str, weights: Weights) -> dict[str, tuple[str, Planned]]:
    """sample_id -> embedding key and window, of the samples of a batch that have a latent."""
    planned = plan_latents(project, batch, weights_of(project, project.config.vae).hash).latents
    status = statuses(project, (one.parts.sample_id for one in planned))
    usable = [one for one in planned if status.get(one.parts.sample_id) == "ok"]
    return {one.parts.sample_id: (image_key(one, weights.hash, _encoder(project)), one) for one in usable}


def image_embeddings(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Embed the first frames that have no embedding yet, then list which sample has which."""
    weights, here = weights_of(project, _encoder(project)), equals("ingest_batch", batch)
    wanted = _wanted(project, batch, weights)
    by_key = dict(wanted.values())
    tally = embeddings.complete(
        project,
        by_key,
        lambda keys: _rows(project, weights, {key: by_key[key] for key in keys}),
        force,
        lambda told: progress(f"image embeddings: {told}"),
    )
    rows = {
        sample_id: {
            "sample_id": sample_id,
            "video_id": one.parts.source_hash,
            "ingest_batch": batch,
            "image_key": key,
        }
        for sample_id, (key, one) in wanted.items()
    }
    listed = {sample_id: digest(row) for sample_id, row in rows.items()}
    sync_slice(project.store, "first_frames", here, listed, lambda misses: (rows[one] for one in misses))
    failed = sorted({row["error"] for row in tally.rows.values() if row["status"] != "ok"})
    facts = {"samples": len(rows), "bytes": tally.bytes, "failed": len(failed), "errors": failed[:10]}
    output = embeddings.output([tally], facts)
    output.data_version = output.output_digest = _version(project, batch)
    return output


def _rows(project: Project, weights: Weights, wanted: dict[str, Planned]) -> Iterator[Row]:
    """A row of `embeddings` for each key; every source is decoded once."""
    from model.image_encoder import encode_images, load_image_encoder

    section = _encoder(project)
    encoder = load_image_encoder(weights.folder, section.dtype, project.config.encoding.device)
    frames: dict[str, np.ndarray] = {}

    def encode(keys: list[str]) -> list[embeddings.Made]:
        return [embeddings.Made(states) for states in encode_images(encoder, [frames[key] for key in keys])]

    for key, frame in _first_frames(project, wanted):
        if isinstance(frame, str):
            yield embeddings.failed("image", weights.hash, key, frame)
            continue
        frames[key] = frame
        if len(frames) == _BATCH:
            yield from embeddings.rows("image", weights.hash, list(frames), encode)
            frames.clear()
    yield from embeddings.rows("image", weights.hash, list(frames), encode)


def _first_frames(project: Project, wanted: dict[str, Planned]) -> Iterable[tuple[str, np.ndarray | str]]:
    """Each key with its frame (H, W, 3) uint8, or with the reason why it has none."""
    from vid_assets.encoding.frames import Task, by_source, decoded

    sources = openable(project)
    key_of: dict[int, str] = {}
    tasks = []
    for key, one in wanted.items():
        source = sources[one.parts.source_hash]
        tasks.append(Task(one.parts, _still(one), source, one.video, one.timestamps, one.route, one.crop))
        key_of[id(tasks[-1])] = key
    for group in by_source(tasks):
        for task, frames in decoded(group):
            yield key_of[id(task)], frames if isinstance(frames, str) else frames[0]


def _version(project: Project, batch: str | None) -> str:
    """Hash of which sample of a batch has which embedding, and of which of these are sound."""
    kept = read_slice(project.store, "first_frames", equals("ingest_batch", batch)).rows
    rows = project.store.read("first_frames", equals("ingest_batch", batch), ["image_key"])
    return digest([kept, embeddings.version(project, [[row["image_key"] for row in rows]])])


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the batch's first frames and their embeddings."""
    return _version(project, partition)
