"""`text_embeddings`: the states of captions that condition the denoiser, one for each token and one for the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.encoders import text as text_model
from vid_assets.assets.asset import Asset, Slice, Work
from vid_assets.assets.encode import embeddings
from vid_assets.assets.weights import Location, location, weights_of
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.section import part, plain
from vid_assets.store.cache import Output
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Row, Store, equals

#: Kind of embedding of a caption -> the section of the configuration that names its encoder.
SECTIONS = {"text": "text_encoder", "pooled": "pooled_text_encoder"}
_NAMED = 20


@dataclass(frozen=True)
class TextSource:
    """What embeds captions: where the weights lie, and the settings that change what they give."""

    weights: Location
    settings: Any


def text_sources(config: Config) -> dict[str, TextSource]:
    """The configured text encoders by the kind of embedding that they give."""
    found = {kind: getattr(config, name) for kind, name in SECTIONS.items()}
    return {kind: TextSource(location(one), one.kept) for kind, one in found.items() if one}


def caption_keys(local: Path, sources: Mapping[str, TextSource], kind: str) -> Callable[[str], str | None]:
    """What gives the key of a caption's embedding: text, encoder weights, and settings that change it.

    It gives None where no encoder of this kind is among `sources`. The weights are resolved here, once; `local` is
    the local folder of the home.
    """
    source = sources.get(kind)
    if source is None:
        return lambda caption_key: None
    made_with = [kind, weights_of(local, source.weights).hash, plain(source.settings), text_model.TEXT_CODE_VERSION]
    return lambda caption_key: digest([caption_key, *made_with])


def _sources(work: Work) -> dict[str, TextSource]:
    """The encoders of an asset at work: their settings are those that entered its fingerprint."""
    found = work.runtime["weights"].items()
    return {kind: TextSource(where, work.config[SECTIONS[kind]]) for kind, where in found}


def _captions(store: Store, batch: str) -> dict[str, str]:
    """Caption key -> caption of a batch."""
    rows = store.read("captions", equals("ingest_batch", batch) + " AND caption IS NOT NULL")
    return {row["caption_key"]: row["caption"] for row in rows}


def _wanted(work: Work, kind: str) -> dict[str, str]:
    """Embedding key -> caption key for the captions of a batch; nothing where no encoder is configured."""
    key_of = caption_keys(work.local, _sources(work), kind)
    keys = ((key_of(caption_key), caption_key) for caption_key in _captions(work.store, work.batch))
    return {key: caption_key for key, caption_key in keys if key is not None}


def text_embeddings(work: Work) -> Output:
    """The embeddings of each caption of a batch that has none yet; shared by all batches."""
    captions = _captions(work.store, work.batch)
    tallies: list[embeddings.Tally] = []
    facts: dict[str, Any] = {}

    def complete(kind: str, wanted: dict[str, str]) -> embeddings.Tally:
        return embeddings.complete(
            work.store,
            wanted,
            lambda keys: _rows(work, kind, keys, wanted, captions),
            flush_rows=work.runtime["encoding"].flush_rows,
            force=work.force,
            progress=lambda told: work.progress(f"{kind} embeddings: {told}"),
        )

    for kind in SECTIONS:
        wanted = _wanted(work, kind)
        tallies.append(complete(kind, wanted))
        facts |= _facts(work, kind, tallies[-1], wanted)
    facts["bytes"] = sum(tally.bytes for tally in tallies)
    return embeddings.output(tallies, facts)


def _rows(work: Work, kind: str, keys: list[str], wanted: dict[str, str], captions: dict[str, str]) -> Iterable[Row]:
    """Rows of `embeddings` for the keys; the encoder is loaded once they are asked for."""
    settings = work.config[SECTIONS[kind]]
    weights = weights_of(work.local, work.runtime["weights"][kind])
    encoder = text_model.load_text_encoder(
        weights.folder,
        settings.family,
        settings.dtype,
        work.runtime["encoding"].device,
        max_tokens=settings.max_tokens,
        template=getattr(settings, "template", None),
        skip_layers=getattr(settings, "skip_layers", 0),
        pooled=kind == "pooled",
    )

    def encode(chunk: list[str]) -> list[embeddings.Made]:
        made = text_model.encode_texts(encoder, [captions[wanted[key]] for key in chunk])
        return [embeddings.Made(one.states, one.cut_tokens) for one in made]

    for row in embeddings.rows(kind, weights.hash, keys, encode):
        yield row | {"caption_key": wanted[row["key"]]}


def _facts(work: Work, kind: str, tally: embeddings.Tally, wanted: dict[str, str]) -> dict[str, Any]:
    """What people should know of one kind: its size, and which clips' captions were cut or failed."""
    if kind not in work.runtime["weights"]:
        return {}
    of_caption: dict[str, list[str]] = {}
    for row in work.store.read("captions", work.here, ["clip_id", "caption_key"]):
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


def _verify(work: Work, state: AssetState) -> str:
    return embeddings.version(work.store, [_wanted(work, kind) for kind in SECTIONS])


def _weights(work: Work) -> dict[str, str]:
    found = work.runtime["weights"].items()
    return {f"{kind} encoder weights": weights_of(work.local, where).hash for kind, where in found}


def _config(config: Config, batch: str | None) -> dict[str, Any]:
    sources = text_sources(config)
    return {name: sources[kind].settings if kind in sources else None for kind, name in SECTIONS.items()}


ASSET = Asset(
    "text_embeddings",
    group="encode",
    doc="Encoder states of each caption, unpadded, and its pooled state if there is an encoder for it, keyed by text, "
    "the encoder's weights and its settings.",
    kinds=frozenset({"huggingface", "lancedb"}),
    partitions="batch",
    tables=("embeddings",),
    code_version=text_model.TEXT_CODE_VERSION,
    upstream=("captions",),
    slices=(Slice(_weights),),
    config=_config,
    runtime=lambda config, batch: {
        "weights": {kind: source.weights for kind, source in text_sources(config).items()},
        "encoding": part(config.encoding, "device", "flush_rows"),
    },
    run=text_embeddings,
    verify=_verify,
    conditions=True,
)
