"""`captions` and `text_embeddings`: the text beside the footage, and the encoder states that condition the denoiser."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable

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


def _sidecars(project: Project, batch: str | None) -> dict[str, Row]:
    """The sidecar of each video of a batch that has one: that of its first present source with a sidecar.

    A video that has no present source any more keeps the sidecar that it had.
    """
    owned = {row["video_id"] for row in project.store.read("videos", equals("ingest_batch", batch), ["video_id"])}
    found: dict[str, Row] = {}
    rows = [row for row in project.store.read("sources") if row["video_id"] in owned and is_hashed(row)]
    present = {row["video_id"] for row in rows if row["state"] == "present"}
    for row in sorted(rows, key=lambda row: (row["ingest_batch"], row["uri"])):
        if row["sidecars"] and (row["state"] == "present" or row["video_id"] not in present):
            found.setdefault(row["video_id"], row["sidecars"][0])
    return found


def sidecars_of_batch(project: Project, batch: str | None) -> list[tuple[str, int, str]]:
    """Which sidecar, in which version, captions each video of a batch. A rename of both files changes nothing."""
    return sorted((video, car["size_bytes"], car["etag"]) for video, car in _sidecars(project, batch).items())


def captions(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """A caption row for each clip: the text of the file's sidecar, NULL where there is none."""
    sidecars = _sidecars(project, batch)
    clips = {row["clip_id"]: row["video_id"] for row in project.store.read("clips", equals("ingest_batch", batch))}
    wanted = {}
    for clip_id, video_id in clips.items():
        car = sidecars.get(video_id)
        wanted[clip_id] = digest([clip_id, car and [car["size_bytes"], car["etag"]], CAPTIONS_VERSION])
    read = functools.cache(_read_caption)

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            car = sidecars.get(clips[clip_id])
            none = {"clip_id": clip_id, "ingest_batch": batch, "origin": "none"}
            yield none | (read(car["uri"]) if car else {})

    output = sync_slice(project.store, "captions", equals("ingest_batch", batch), wanted, compute, force=force)
    rows = project.store.read("captions", equals("ingest_batch", batch), ["caption", "error"])
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


def embedding_key(project: Project, caption_key: str) -> str:
    """The key of a caption's states: the text, the encoder's weights, and the settings that change the states."""
    config = project.config.text_encoder
    if config is None:
        raise ValueError("no text_encoder is configured")
    settings = config.model_dump(include={"family", "max_tokens", "dtype"})
    return digest([caption_key, encoder_hash(project), settings, text_model.TEXT_CODE_VERSION])


def _wanted(project: Project, batch: str | None) -> dict[str, tuple[str, str]]:
    """Embedding key -> (caption key, caption) for the captions of a batch."""
    if project.config.text_encoder is None:
        return {}
    rows = project.store.read("captions", equals("ingest_batch", batch) + " AND caption IS NOT NULL")
    texts = {row["caption_key"]: row["caption"] for row in rows}
    return {embedding_key(project, key): (key, caption) for key, caption in texts.items()}


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
