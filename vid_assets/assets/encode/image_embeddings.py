"""`image_embeddings`: the embedding of each sample's first frame, for models that are conditioned on an image.

The frame is embedded as its latent shows it: cropped and in the size of the bucket. Its key holds what determines its
pixels and nothing of the VAE; windows of several lengths that begin alike share one embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from model.encoders.image import IMAGE_CODE_VERSION
from vid_assets.assets.asset import Asset, Slice, UpstreamMissingError, Work
from vid_assets.assets.encode import embeddings
from vid_assets.assets.encode.latent_plan import Planned, latent_settings, plan_latents
from vid_assets.assets.encode.stored_latents import statuses
from vid_assets.assets.queries import openable
from vid_assets.assets.weights import ResolvedWeights, location, weights_of
from vid_assets.config import Config
from vid_assets.digests import SHOWN, digest
from vid_assets.encoding.content_key import clock_digest
from vid_assets.encoding.settings import ImageEncoderSection
from vid_assets.encoding.windows import Window
from vid_assets.section import part, plain
from vid_assets.store.cache import Output, read_slice, sync_slice
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Row, Store

_BATCH = 16
#: Parts of a latent's key that determine its pixels, but for which of the source's frames it takes.
_PIXELS = ("source_hash", "stream_index", "rotation", "start_s", "height", "width", "transform", "decoder")


def _still(one: Planned) -> Window:
    """The first frame of a window, as a window of its own."""
    bucket = one.window.bucket
    return Window(bucket.model_copy(update={"frames": 1, "fps": None}), one.window.start_s, 0)


def image_key(one: Planned, encoder_hash: str, encoder: ImageEncoderSection) -> str:
    """Key of the embedding of a sample's first frame: its pixels, the encoder and the settings that change it."""
    pixels = {name: getattr(one.parts, name) for name in _PIXELS}
    pixels["clock"] = clock_digest(one.timestamps, _still(one).times_s)
    return digest(["image", pixels, encoder_hash, plain(encoder), IMAGE_CODE_VERSION])


def _wanted(work: Work, weights: ResolvedWeights) -> dict[str, tuple[str, Planned]]:
    """sample_id -> embedding key and window, of the samples of a batch that have a latent.

    Raises `UpstreamMissingError` where a sample is there that would not be one now: what its latent was made from has
    changed since.
    """
    samples = work.store.read("samples", work.here, ["sample_id", "clip_id"])
    status = statuses(work.store, (row["sample_id"] for row in samples))
    vae = weights_of(work.local, work.runtime["vae weights"]).hash
    clips = {row["clip_id"] for row in samples}
    plan = plan_latents(work.store, work.batch, work.runtime["latents"], vae, kept=clips)
    planned = {one.parts.sample_id: one for one in plan.latents}
    wanted = {}
    for sample_id in sorted(one for one, found in status.items() if found == "ok"):
        if sample_id not in planned:
            raise UpstreamMissingError(
                f"sample {sample_id[:SHOWN]} of batch {work.batch} was encoded from what has changed since. "
                "Materialize latents of this batch first, or run `vid-assets run` for everything that is stale."
            )
        one = planned[sample_id]
        wanted[sample_id] = (image_key(one, weights.hash, work.config["image_encoder"]), one)
    return wanted


def image_embeddings(work: Work) -> Output:
    """Embed the first frames that have no embedding yet, then list which sample has which."""
    weights = weights_of(work.local, work.runtime["weights"])
    wanted = _wanted(work, weights)
    by_key = dict(wanted.values())
    tally = embeddings.complete(
        work.store,
        by_key,
        lambda keys: _rows(work, weights, {key: by_key[key] for key in keys}),
        flush_rows=work.runtime["encoding"].flush_rows,
        force=work.force,
        progress=lambda told: work.progress(f"image embeddings: {told}"),
    )
    rows = {
        sample_id: {
            "sample_id": sample_id,
            "video_id": one.parts.source_hash,
            "ingest_batch": work.batch,
            "image_key": key,
        }
        for sample_id, (key, one) in wanted.items()
    }
    listed = {sample_id: digest(row) for sample_id, row in rows.items()}
    sync_slice(work.store, "first_frames", work.here, listed, lambda misses: (rows[one] for one in misses))
    failed = sorted({row["error"] for row in tally.rows.values() if row["status"] != "ok"})
    facts = {"samples": len(rows), "bytes": tally.bytes, "failed": len(failed), "errors": failed[:10]}
    output = embeddings.output([tally], facts)
    output.data_version = output.output_digest = _version(work)
    return output


def _rows(work: Work, weights: ResolvedWeights, wanted: dict[str, Planned]) -> Iterator[Row]:
    """A row of `embeddings` for each key; every source is decoded once."""
    from model.encoders.image import encode_images, load_image_encoder

    dtype = work.config["image_encoder"].dtype
    encoder = load_image_encoder(weights.folder, dtype, work.runtime["encoding"].device)
    frames: dict[str, np.ndarray] = {}

    def encode(keys: list[str]) -> list[embeddings.Made]:
        return [embeddings.Made(states) for states in encode_images(encoder, [frames[key] for key in keys])]

    for key, frame in _first_frames(work.store, wanted):
        if isinstance(frame, str):
            yield embeddings.failed("image", weights.hash, key, frame)
            continue
        frames[key] = frame
        if len(frames) == _BATCH:
            yield from embeddings.rows("image", weights.hash, list(frames), encode)
            frames.clear()
    yield from embeddings.rows("image", weights.hash, list(frames), encode)


def _first_frames(store: Store, wanted: dict[str, Planned]) -> Iterable[tuple[str, np.ndarray | str]]:
    """Each key with its frame (H, W, 3) uint8, or with the reason why it has none."""
    from vid_assets.encoding.frames import Task, by_source, decoded

    sources = openable(store)
    key_of: dict[int, str] = {}
    tasks = []
    for key, one in wanted.items():
        source = sources[one.parts.source_hash]
        tasks.append(Task(one.parts, _still(one), source, one.video, one.timestamps, one.route, one.crop))
        key_of[id(tasks[-1])] = key
    for group in by_source(tasks):
        for task, frames in decoded(group):
            yield key_of[id(task)], frames if isinstance(frames, str) else frames[0]


def _version(work: Work) -> str:
    """Hash of which sample of a batch has which embedding, and of which of these are sound."""
    kept = read_slice(work.store, "first_frames", work.here).rows
    rows = work.store.read("first_frames", work.here, ["image_key"])
    return digest([kept, embeddings.version(work.store, [[row["image_key"] for row in rows]])])


def _verify(work: Work, state: AssetState) -> str:
    return _version(work)


def _weights(work: Work) -> dict[str, str]:
    return {"image encoder weights": weights_of(work.local, work.runtime["weights"]).hash}


def _config(config: Config, batch: str | None) -> dict[str, Any]:
    return {"image_encoder": config.image_encoder.kept if config.image_encoder else None}


ASSET = Asset(
    "image_embeddings",
    wanted=lambda config: config.image_encoder is not None,
    conditions=True,
    group="encode",
    doc="The image embedding of each sample's first frame, keyed by its pixels and the encoder; no VAE is in the key.",
    kinds=frozenset({"huggingface", "lancedb"}),
    partitions="batch",
    tables=("first_frames", "embeddings"),
    code_version=IMAGE_CODE_VERSION,
    upstream=("latents",),
    slices=(Slice(_weights),),
    reads=("sources", "videos", "frame_stats", "clips", "clip_scores"),  # what is read of them is in a sample's id
    config=_config,
    runtime=lambda config, batch: {
        "weights": location(config.image_encoder) if config.image_encoder else None,
        "vae weights": location(config.vae),
        "latents": latent_settings(config),
        "encoding": part(config.encoding, "device", "flush_rows"),
    },
    run=image_embeddings,
    verify=_verify,
)
