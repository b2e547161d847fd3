"""`captions` and `text_embeddings`: the text beside the footage, and the encoder states that condition the denoiser."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import numpy as np

from model import text as text_model
from vid_assets.footage.identity import read_text
from vid_assets.footage.membership import is_hashed
from vid_assets.project import Project
from vid_assets.steps.vae import weights_of
from vid_assets.steps.versions import CAPTIONS_VERSION
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row, equals, one_of

Progress = Callable[[str], None]


def _sidecars(project: Project, batch: str) -> dict[str, Row]:
    """The sidecar of each video of a batch that has one: that of its first present source with a sidecar.

    A video that has no present source any more keeps the sidecar that it had.
    """
    return project.store.derived("sidecars", ("sources", "videos"), lambda: _all_sidecars(project)).get(batch, {})


def _all_sidecars(project: Project) -> dict[str, dict[str, Row]]:
    batch_of = {row["video_id"]: row["ingest_batch"] for row in project.store.read("videos", columns=_OWNERSHIP)}
    rows = [row for row in project.store.read("sources") if row["video_id"] in batch_of and is_hashed(row)]
    present = {row["video_id"] for row in rows if row["state"] == "present"}
    found: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["sidecars"] and (row["state"] == "present" or row["video_id"] not in present):
            found.setdefault(batch_of[row["video_id"]], {}).setdefault(row["video_id"], row["sidecars"][0])
    return found


_OWNERSHIP = ["video_id", "ingest_batch"]


def sidecars_of_batch(project: Project, batch: str) -> list[tuple[str, int, str]]:
    """Which sidecar, in which version, captions each video of a batch. A rename of both files changes nothing."""
    return sorted((video, car["size_bytes"], car["etag"]) for video, car in _sidecars(project, batch).items())


def captions(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """A caption row for each clip: the text of the file's sidecar, NULL where there is none."""
    sidecars = _sidecars(project, batch)
    clips = {row["clip_id"]: row["video_id"] for row in project.store.read("clips", equals("ingest_batch", batch))}
    failed = {row["clip_id"] for row in project.store.read("captions", equals("ingest_batch", batch)) if row["error"]}
    wanted = {}
    for clip_id, video_id in clips.items():
        car = sidecars.get(video_id)
        again = [datetime.now(UTC).isoformat()] if clip_id in failed else []
        wanted[clip_id] = digest([clip_id, car and [car["size_bytes"], car["etag"]], CAPTIONS_VERSION, *again])
    read = functools.cache(_read_caption)

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            car = sidecars.get(clips[clip_id])
            none = {"clip_id": clip_id, "ingest_batch": batch, "origin": "none"}
            yield none | (read(car["uri"]) if car else {})

    output = sync_slice(project.store, "captions", equals("ingest_batch", batch), wanted, compute, force=force)
    rows = project.store.read("captions", equals("ingest_batch", batch), ["caption", "error"])
    output.retry = any(row["error"] for row in rows)
    output.facts |= {
        "with caption": sum(row["caption"] is not None for row in rows),
        "without caption": sum(row["caption"] is None for row in rows),
        "unreadable": sorted({row["error"] for row in rows if row["error"]}),
    }
    return output


def _read_caption(uri: str) -> Row:
    origin = f"sidecar {uri.rpartition('.')[2]}"
    try:
        caption = " ".join(read_text(uri).split())
    except (OSError, UnicodeDecodeError) as error:
        return {"caption": None, "caption_key": None, "origin": origin, "error": f"{uri}: {error}"}
    if not caption:
        return {"caption": None, "caption_key": None, "origin": origin, "error": None}
    key = hashlib.sha256(caption.encode()).hexdigest()
    return {"caption": caption, "caption_key": key, "origin": origin, "error": None}


def encoder_hash(project: Project) -> str | None:
    """Hash of the text encoder's weights and tokenizer, None where none is configured."""
    encoder = project.config.text_encoder
    return weights_of(project, encoder).hash if encoder else None


def embedding_keys(project: Project) -> Callable[[str], str | None]:
    """What gives the key of a caption's states: text, encoder weights, and settings that change them; None without one.

    The weights are resolved here, once.
    """
    config = project.config.text_encoder
    if config is None:
        return lambda caption_key: None
    settings = config.model_dump(include={"family", "max_tokens", "dtype"})
    encoder = encoder_hash(project)
    return lambda caption_key: digest([caption_key, encoder, settings, text_model.TEXT_CODE_VERSION])


def _wanted(project: Project, batch: str | None) -> dict[str, tuple[str, str]]:
    """Embedding key -> (caption key, caption) for the captions of a batch."""
    key_of = embedding_keys(project)
    rows = project.store.read("captions", equals("ingest_batch", batch) + " AND caption IS NOT NULL")
    texts = {row["caption_key"]: row["caption"] for row in rows}
    keys = ((key_of(caption_key), caption_key, caption) for caption_key, caption in texts.items())
    return {key: (caption_key, caption) for key, caption_key, caption in keys if key is not None}


def text_embeddings(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """Encoder states of each caption of a batch that has none yet; shared by all batches."""
    wanted = _wanted(project, batch)
    there = {} if force else _present(project, wanted)
    misses = [key for key in wanted if key not in there]
    encode = functools.cache(lambda: _encoder(project))
    for start in range(0, len(misses), project.config.encoding.flush_rows):
        chunk = misses[start : start + project.config.encoding.flush_rows]
        rows = encode()({key: wanted[key] for key in chunk})
        project.store.insert_absent("embeddings", rows, replace_where="true" if force else None)
        progress(f"embedded {start + len(chunk)} of {len(misses)} captions")
    present = _present(project, wanted)
    version = digest(sorted(present))
    tokens = sum(present.values())
    return Output(
        version,
        version,
        rows=len(present),
        computed=len(misses),
        cached=len(present) - len(misses),
        facts={"tokens": tokens, "bytes": 4 * tokens * _dim(project) if tokens else 0},
    )


def _present(project: Project, wanted: Iterable[str]) -> dict[str, int]:
    rows = project.store.read("embeddings", one_of("key", sorted(wanted)), ["key", "tokens"])
    return {row["key"]: row["tokens"] for row in rows}


def _dim(project: Project) -> int:
    return max((row["dim"] for row in project.store.read("embeddings", columns=["dim"])), default=0)


def _encoder(project: Project) -> Callable[[dict[str, tuple[str, str]]], list[Row]]:
    """Load the text encoder; what it returns makes rows of `embeddings` from {key: (caption key, caption)}."""
    config = project.config.text_encoder
    assert config is not None, "there is nothing to embed without an encoder"
    weights = weights_of(project, config)
    encoder = text_model.load_text_encoder(weights.folder, config.dtype, project.config.encoding.device)

    def rows(wanted: dict[str, tuple[str, str]]) -> list[Row]:
        states = text_model.encode_texts(encoder, [caption for _, caption in wanted.values()], config.max_tokens)
        return [
            _embedding_row(key, caption_key, weights.hash, state)
            for (key, (caption_key, _)), state in zip(wanted.items(), states, strict=True)
        ]

    return rows


def _embedding_row(key: str, caption_key: str, encoder: str, state: np.ndarray) -> Row:
    payload = state.astype("<f4").tobytes()
    return {
        "key": key,
        "kind": "text",
        "caption_key": caption_key,
        "encoder_hash": encoder,
        "tokens": state.shape[0],
        "dim": state.shape[1],
        "dtype": "float32",
        "checksum": hashlib.sha256(payload).hexdigest(),
        "embedding": payload,
    }


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the batch's embeddings."""
    return digest(sorted(_present(project, _wanted(project, partition))))
