"""`text_embeddings`: the states of captions that condition the denoiser, one for each token and one for the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from model import text as text_model
from vid_assets.project import Project
from vid_assets.steps import embeddings
from vid_assets.steps.vae import weights_of
from vid_assets.store.cache import Output
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row, equals

Progress = Callable[[str], None]
#: Kind of embedding -> the section of the configuration that names its encoder.
KINDS = {"text": "text_encoder", "pooled": "pooled_text_encoder"}
_NAMED = 20


def _section(project: Project, kind: str) -> Any:
    return getattr(project.config, KINDS[kind])


def encoder_hashes(project: Project) -> dict[str, str]:
    """Hash of the weights and tokenizer of each configured text encoder, by kind."""
    return {kind: weights_of(project, section).hash for kind in KINDS if (section := _section(project, kind))}


def embedding_keys(project: Project, kind: str) -> Callable[[str], str | None]:
    """What gives the key of a caption's embedding: text, encoder weights, and settings that change it.

    It gives None where no encoder of this kind is configured. The weights are resolved here, once.
    """
    section = _section(project, kind)
    if section is None:
        return lambda caption_key: None
    made_with = [kind, weights_of(project, section).hash, section.settings, text_model.TEXT_CODE_VERSION]
    return lambda caption_key: digest([caption_key, *made_with])


def _captions(project: Project, batch: str | None) -> dict[str, str]:
    """Caption key -> caption of a batch."""
    rows = project.store.read("captions", equals("ingest_batch", batch) + " AND caption IS NOT NULL")
    return {row["caption_key"]: row["caption"] for row in rows}


def _wanted(project: Project, batch: str | None, kind: str) -> dict[str, str]:
    """Embedding key -> caption key for the captions of a batch; nothing where no encoder is configured."""
    key_of = embedding_keys(project, kind)
    keys = ((key_of(caption_key), caption_key) for caption_key in _captions(project, batch))
    return {key: caption_key for key, caption_key in keys if key is not None}


def text_embeddings(project: Project, batch: str, force: bool = False, progress: Progress = print) -> Output:
    """The embeddings of each caption of a batch that has none yet; shared by all batches."""
    captions = _captions(project, batch)
    tallies: list[embeddings.Tally] = []
    facts: dict[str, Any] = {}

    def complete(kind: str, wanted: dict[str, str]) -> embeddings.Tally:
        return embeddings.complete(
            project,
            wanted,
            lambda keys: _rows(project, kind, keys, wanted, captions),
            force,
            lambda told: progress(f"{kind} embeddings: {told}"),
        )

    for kind in KINDS:
        wanted = _wanted(project, batch, kind)
        tallies.append(complete(kind, wanted))
        facts |= _facts(project, batch, kind, tallies[-1], wanted)
    facts["bytes"] = sum(tally.bytes for tally in tallies)
    return embeddings.output(tallies, facts)


def _rows(
    project: Project, kind: str, keys: list[str], wanted: dict[str, str], captions: dict[str, str]
) -> Iterable[Row]:
    """Rows of `embeddings` for the keys; the encoder is loaded once they are asked for."""
    section = _section(project, kind)
    weights = weights_of(project, section)
    encoder = text_model.load_text_encoder(
        weights.folder,
        section.family,
        section.dtype,
        project.config.encoding.device,
        max_tokens=section.max_tokens,
        template=getattr(section, "template", None),
        skip_layers=getattr(section, "skip_layers", 0),
        pooled=kind == "pooled",
    )

    def encode(chunk: list[str]) -> list[embeddings.Made]:
        made = text_model.encode_texts(encoder, [captions[wanted[key]] for key in chunk])
        return [embeddings.Made(one.states, one.cut_tokens) for one in made]

    for row in embeddings.rows(kind, weights.hash, keys, encode):
        yield row | {"caption_key": wanted[row["key"]]}


def _facts(project: Project, batch: str, kind: str, tally: embeddings.Tally, wanted: dict[str, str]) -> dict[str, Any]:
    """What people should know of one kind: its size, and which clips' captions were cut or failed."""
    if _section(project, kind) is None:
        return {}
    of_caption: dict[str, list[str]] = {}
    for row in project.store.read("captions", equals("ingest_batch", batch), ["clip_id", "caption_key"]):
        of_caption.setdefault(row["caption_key"], []).append(row["clip_id"])

    def clips(rows: Iterable[Row]) -> list[str]:
        return sorted(clip for row in rows for clip in of_caption.get(wanted[row["key"]], ()))

    cut = clips(row for row in tally.rows.values() if row["cut_tokens"])
    failed = [row for row in tally.rows.values() if row["status"] != "ok"]
    facts: dict[str, Any] = {"tokens": sum(row["tokens"] or 0 for row in tally.rows.values())}
    facts |= {"clips with a cut caption": len(cut), "cut captions": cut[:_NAMED]}
    facts |= {"failed": len(failed), "errors": sorted({row["error"] for row in failed})[:_NAMED]}
    facts["clips without an embedding"] = clips(failed)[:_NAMED]
    return facts if kind == "text" else {f"{kind} {name}": value for name, value in facts.items()}


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the batch's embeddings."""
    return embeddings.version(project, [_wanted(project, partition, kind) for kind in KINDS])
