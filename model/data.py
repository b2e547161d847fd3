"""Reading a pinned training set: who is in it, and the bytes of its latents and text states. Read only.

Rows and versions come from the manifest. Bytes are verified against their checksum when they are first read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
import torch

from model.errors import ModelError
from model.order import BatchOrder

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class DataError(ModelError):
    """The stored training set does not hold what the manifest promises; the message names the row."""


@dataclass(frozen=True)
class Sample:
    """One member: where its latent is, which caption it has, and under which key its text states are (None = none)."""

    sample_id: str
    caption_key: str | None
    embedding_key: str | None
    split: str
    bucket: str
    kind: str
    row: int
    dtype: str
    shape: tuple[int, ...]
    checksum: str


@dataclass(frozen=True)
class Batch:
    """Samples of one bucket.

    Attributes:
        samples: the members, in order.
        latents: as stored, (B, 2C or C, f, h, w), in the stored dtype, on the CPU.
        texts: encoder states (tokens, dim), float32, None where a sample has no caption.
    """

    samples: list[Sample]
    latents: torch.Tensor
    texts: list[torch.Tensor | None]

    @property
    def kind(self) -> str:
        return self.samples[0].kind


class TrainingSet:
    """The members of one digest, with random access to their bytes.

    Args:
        spec: `training_set` of the manifest: digest, and uri and version of latents, members and embeddings.
        channels: channels of the latent space; a latent has these (mean) or twice as many (moments).

    Raises:
        DataError: no member has this digest, or a member's latent or caption is missing, or samples of one bucket
            differ in shape or dtype.
    """

    def __init__(self, spec: Mapping[str, Any], channels: int) -> None:
        self.digest: str = spec["digest"]
        self._latents = _BlobColumn(spec["latents_uri"], spec["latents_version"], "latent")
        self._embeddings = (
            _BlobColumn(spec["embeddings_uri"], spec["embeddings_version"], "embedding")
            if spec.get("embeddings_uri")
            else None
        )
        self._verified: set[int] = set()
        self.samples = self._read_members(spec["members_uri"], spec["members_version"])
        self._texts = self._read_text_rows()
        self._check_shapes(channels)

    @property
    def text_dim(self) -> int | None:
        """Size of one text state, None when no member has a caption."""
        dims = {dim for _, _, dim, _ in self._texts.values()}
        if len(dims) > 1:
            raise DataError(f"text states of this training set have several sizes: {sorted(dims)}")
        return dims.pop() if dims else None

    def split(self, name: str) -> list[Sample]:
        """The members of one split (`train` or `heldout`), ordered by sample_id."""
        return [sample for sample in self.samples.values() if sample.split == name]

    def order(self, image_share: float, batch_size: int, seed: int) -> BatchOrder:
        """The order of the training batches."""
        buckets: dict[str, list[str]] = {}
        kinds: dict[str, str] = {}
        for sample in self.split("train"):
            buckets.setdefault(sample.bucket, []).append(sample.sample_id)
            kinds[sample.bucket] = sample.kind
        return BatchOrder(self.digest, buckets, kinds, image_share, batch_size, seed)

    def read(self, sample_ids: Sequence[str]) -> Batch:
        """Latents and text states of samples of one bucket, in the order given; a sample may come twice."""
        samples = [self.samples[sample_id] for sample_id in sample_ids]
        blobs = self._latents.read([sample.row for sample in samples])
        for sample in samples:
            self._verify(sample, blobs[sample.row])
        latents = [
            _tensor(blobs[sample.row], sample.dtype, sample.shape, f"latent of {sample.sample_id}")
            for sample in samples
        ]
        return Batch(samples, torch.stack(latents), self.read_texts([sample.embedding_key for sample in samples]))

    def read_texts(self, keys: Sequence[str | None]) -> list[torch.Tensor | None]:
        """Text states (tokens, dim), float32, of embedding keys; None gives None."""
        wanted = sorted({self._texts[key][0] for key in keys if key is not None})
        blobs = self._embeddings.read(wanted) if self._embeddings and wanted else {}
        states: list[torch.Tensor | None] = []
        for key in keys:
            if key is None:
                states.append(None)
                continue
            row, tokens, dim, dtype = self._texts[key]
            states.append(_tensor(blobs[row], dtype, (tokens, dim), f"text states of {key}").float())
        return states

    def _verify(self, sample: Sample, blob: bytes) -> None:
        if sample.row in self._verified:
            return
        found = hashlib.sha256(blob).hexdigest()
        if found != sample.checksum:
            raise DataError(
                f"{self._latents.where}: the latent of {sample.sample_id} is damaged: its SHA-256 is {found[:12]}..., "
                f"but {sample.checksum[:12]}... was stored"
            )
        self._verified.add(sample.row)

    def _read_members(self, uri: str, version: int) -> dict[str, Sample]:
        columns = ["sample_id", "caption_key", "embedding_key", "split", "bucket", "kind"]
        quoted = self.digest.replace("'", "''")
        table = _open(uri, version).to_table(columns=columns, filter=f"digest = '{quoted}'")
        members = sorted(table.to_pylist(), key=lambda row: row["sample_id"])
        if not members:
            raise DataError(f"{uri} at version {version} holds no member of the training set {self.digest}")
        names = [member["sample_id"] for member in members]
        stored = self._latents.rows("sample_id", names, ["status", "dtype", "shape", "checksum"])
        samples: dict[str, Sample] = {}
        for member in members:
            name = member["sample_id"]
            rows = [row for row in stored.get(name, []) if row["status"] == "ok"]
            if not rows:
                raise DataError(f"{self._latents.where} holds no latent of the member {name}")
            if name in samples:
                raise DataError(f"{uri} at version {version}: {name} is a member of {self.digest} twice")
            row = rows[0]
            samples[name] = Sample(
                **member, row=row["_rowaddr"], dtype=row["dtype"], shape=tuple(row["shape"]), checksum=row["checksum"]
            )
        return samples

    def _read_text_rows(self) -> dict[str, tuple[int, int, int, str]]:
        keys = sorted({sample.embedding_key for sample in self.samples.values() if sample.embedding_key is not None})
        if not keys:
            return {}
        if self._embeddings is None:
            raise DataError(f"members of {self.digest} have captions, but the manifest names no embeddings")
        stored = self._embeddings.rows("key", keys, ["kind", "tokens", "dim", "dtype"])
        texts = {}
        for key in keys:
            rows = [row for row in stored.get(key, []) if row["kind"] == "text"]
            if not rows:
                raise DataError(f"{self._embeddings.where} holds no text states of the caption {key}")
            texts[key] = (rows[0]["_rowaddr"], rows[0]["tokens"], rows[0]["dim"], rows[0]["dtype"])
        return texts

    def _check_shapes(self, channels: int) -> None:
        first: dict[str, Sample] = {}
        for sample in self.samples.values():
            other = first.setdefault(sample.bucket, sample)
            if (sample.shape, sample.dtype) != (other.shape, other.dtype):
                raise DataError(
                    f"bucket {sample.bucket}: {sample.sample_id} is {sample.dtype} {sample.shape}, but "
                    f"{other.sample_id} is {other.dtype} {other.shape}"
                )
            if len(sample.shape) != 4 or sample.shape[0] not in (channels, 2 * channels):
                raise DataError(f"{sample.sample_id}: a latent of shape {sample.shape} is not of {channels} channels")


class _BlobColumn:
    """A blob column of one pinned version of a table, addressed by row."""

    def __init__(self, uri: str, version: int, column: str) -> None:
        self.where = f"{uri} at version {version}"
        self._column = column
        self._dataset = _open(uri, version)

    def rows(self, key: str, wanted: Sequence[str], columns: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The rows of each wanted key, with their address on the disk as `_rowaddr`; a key without rows is absent."""
        table = self._dataset.to_table(columns=[key, *columns], with_row_address=True)
        table = table.filter(pc.is_in(table.column(key), value_set=pa.array(wanted, table.schema.field(key).type)))
        found: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            found.setdefault(row[key], []).append(row)
        return found

    def read(self, rows: Sequence[int]) -> dict[int, bytes]:
        """Bytes by row; asked for in order of address, which is the order on the disk."""
        wanted = sorted(set(rows))
        blobs = self._dataset.read_blobs(self._column, addresses=wanted, preserve_order=True)
        found: dict[int, bytes] = {}
        for row, (_, blob) in zip(wanted, blobs, strict=True):
            if blob is None:
                raise DataError(f"{self.where}: {self._column} of the row at address {row} is null")
            found[row] = blob
        return found


def _open(uri: str, version: int) -> lance.LanceDataset:
    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        raise DataError(f"cannot open {uri} at version {version}: {str(error).splitlines()[0]}") from error


def _tensor(blob: bytes, dtype: str, shape: tuple[int, ...], what: str) -> torch.Tensor:
    """Little-endian array bytes as a tensor of its own memory; a wrong size or a value not finite is an error."""
    if dtype not in _DTYPES:
        raise DataError(f"{what}: unknown dtype {dtype!r}; known are {', '.join(_DTYPES)}")
    expected = math.prod(shape) * _DTYPES[dtype].itemsize
    if len(blob) != expected:
        raise DataError(f"{what}: {len(blob)} bytes stored, but {dtype} {shape} has {expected}")
    tensor = torch.frombuffer(bytearray(blob), dtype=_DTYPES[dtype]).reshape(shape)
    if not torch.isfinite(tensor).all():
        raise DataError(f"{what}: holds values that are not finite")
    return tensor
