"""Reading a pinned training set: who is in it, and the bytes of its latents and conditioning. Read only.

Rows and versions come from the manifest. Bytes are verified against their checksum when they are first read.
`model.data.blobs` knows where they lie, `model.data.order` which ones come when, `model.data.loader` reads them ahead
of time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.data.blobs import BlobColumn, DataError, local_folder, open_table
from model.data.kinds import KINDS
from model.data.order import BatchOrder
from model.data.states import DTYPES, EncoderStates, all_finite, check_size
from model.manifest import TrainingSetSpec

#: Makes the memory of a batch: uint8, of so many bytes. A loader gives pinned or shared memory.
Allocate = Callable[[int], torch.Tensor]


def plain_memory(size: int) -> torch.Tensor:
    """Memory from NumPy, which asks for huge pages: large batches come 1.5 times as fast as into torch's."""
    return torch.from_numpy(np.empty(size, np.uint8))


@dataclass(frozen=True)
class Sample:
    """One member: where its latent is, which caption it has, and what conditions it.

    `keys` has the key of its states, for each kind that it has; `fps` is the rate that its frames were taken at, None
    for a still.
    """

    sample_id: str
    caption_key: str | None
    keys: Mapping[str, str]
    split: str
    bucket: str
    kind: str
    row: int
    dtype: str
    shape: tuple[int, ...]
    checksum: str
    fps: float | None = None

    @property
    def tokens(self) -> int:
        """Positions of the latent, frames x height x width: what a transformer attends over, patching aside."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True)
class Batch:
    """Samples of one bucket.

    Attributes:
        samples: the members, in order.
        latents: as stored, (B, 2C or C, f, h, w), in the stored dtype, on the CPU.
        states: for each kind of conditioning those of every sample (tokens, dim), float32, None where it has none.
    """

    samples: list[Sample]
    latents: torch.Tensor
    states: Mapping[str, list[torch.Tensor | None]]

    @property
    def kind(self) -> str:
        return self.samples[0].kind


class TrainingSet:
    """The members of one digest, with random access to their bytes.

    It may be sent to another process by pickle: that one reads the same bytes without opening a table.

    Args:
        spec: of a manifest.
        channels: channels of the latent space; a latent has these (mean) or twice as many (moments).

    Raises:
        DataError: no member has this digest, or a member's latent or conditioning is missing, or samples of one bucket
            differ in shape or dtype.
    """

    def __init__(self, spec: TrainingSetSpec, channels: int) -> None:
        self.digest: str = spec.digest
        self.latents = BlobColumn(spec.latents_uri, spec.latents_version, "latent")
        self.samples = self._read_members(spec.members_uri, spec.members_version)
        self._check_shapes(channels)
        wanted = {key: kind for sample in self.samples.values() for kind, key in sample.keys.items()}
        self._states: EncoderStates | None = None
        if wanted:
            if spec.embeddings_uri is None or spec.embeddings_version is None:
                raise DataError(f"members of {self.digest} have captions, but the manifest names no embeddings")
            self._states = EncoderStates(spec.embeddings_uri, spec.embeddings_version, wanted)
        self._verified: set[int] = set()

    @property
    def dims(self) -> dict[str, int | None]:
        """Size of one state of each kind, None where no member has any."""
        return {kind: self._states.dim(kind) if self._states else None for kind in KINDS}

    def split(self, name: str) -> list[Sample]:
        """The members of one split (`train` or `heldout`), ordered by sample_id."""
        return [sample for sample in self.samples.values() if sample.split == name]

    def order(
        self,
        image_share: float,
        batch_size: int | Mapping[str, int],
        seed: int,
        share_unit: str = "samples",
        mix: Mapping[str, float] | None = None,
    ) -> BatchOrder:
        """The order of the training batches."""
        buckets: dict[str, list[str]] = {}
        first: dict[str, Sample] = {}
        for sample in self.split("train"):
            buckets.setdefault(sample.bucket, []).append(sample.sample_id)
            first.setdefault(sample.bucket, sample)
        folder = local_folder(self.latents.uri)
        return BatchOrder(
            {"uri": str(folder or self.latents.uri), "version": self.latents.version, "digest": self.digest},
            buckets,
            {bucket: sample.kind for bucket, sample in first.items()},
            image_share,
            batch_size,
            seed,
            {bucket: sample.tokens for bucket, sample in first.items()} if share_unit == "tokens" else None,
            mix,
        )

    def read(self, sample_ids: Sequence[str], allocate: Allocate = plain_memory) -> Batch:
        """Latents and conditioning of samples of one bucket, in the order given; a sample may come twice."""
        samples = [self.samples[sample_id] for sample_id in sample_ids]
        dtype, shape = DTYPES[samples[0].dtype], samples[0].shape
        memory = allocate(len(samples) * math.prod(shape) * dtype.itemsize)
        parts = memory.numpy().reshape(len(samples), -1)
        self.latents.read([sample.row for sample in samples], parts)
        latents = memory.view(dtype).view(len(samples), *shape)
        for index, sample in enumerate(samples):
            if sample.row not in self._verified:
                self._verify(sample, parts[index])
        states = {kind: self.read_states([sample.keys.get(kind) for sample in samples]) for kind in KINDS}
        return Batch(samples, latents, states)

    def read_states(self, keys: Sequence[str | None]) -> list[torch.Tensor | None]:
        """States (tokens, dim), float32, of embedding keys; None gives None."""
        return self._states.read(keys) if self._states else [None] * len(keys)

    def _verify(self, sample: Sample, part: np.ndarray) -> None:
        found = hashlib.sha256(part.data).hexdigest()
        if found != sample.checksum:
            raise DataError(
                f"{self.latents.where}: the latent of {sample.sample_id} is damaged: its SHA-256 is {found[:12]}..., "
                f"but {sample.checksum[:12]}... was stored"
            )
        if not all_finite(part, sample.dtype):
            raise DataError(f"latent of {sample.sample_id}: holds values that are not finite")
        self._verified.add(sample.row)

    def _read_members(self, uri: str, version: int) -> dict[str, Sample]:
        table = open_table(uri, version)
        there = {kind.name: kind.column for kind in KINDS.values() if kind.column in table.schema.names}
        columns = ["sample_id", "caption_key", *there.values(), "split", "bucket", "kind"]
        quoted = self.digest.replace("'", "''")
        found = table.to_table(columns=columns, filter=f"digest = '{quoted}'").to_pylist()
        members = sorted(found, key=lambda row: row["sample_id"])
        if not members:
            raise DataError(f"{uri} at version {version} holds no member of the training set {self.digest}")
        names = [member["sample_id"] for member in members]
        rows: dict[str, tuple[int, dict[str, Any]]] = {}
        facts = ["status", "dtype", "shape", "checksum", *(name for name in self.latents.columns if name == "fps")]
        for place, row in enumerate(self.latents.select("sample_id", names, facts)):
            if row["status"] == "ok":
                rows.setdefault(row["sample_id"], (place, row))
        samples: dict[str, Sample] = {}
        for member in members:
            name = member["sample_id"]
            if name not in rows:
                raise DataError(f"{self.latents.where} holds no latent of the member {name}")
            if name in samples:
                raise DataError(f"{uri} at version {version}: {name} is a member of {self.digest} twice")
            place, row = rows[name]
            check_size(f"latent of {name}", row["dtype"], row["shape"], row["size"])
            samples[name] = Sample(
                name,
                member["caption_key"],
                {kind: member[column] for kind, column in there.items() if member[column] is not None},
                member["split"],
                member["bucket"],
                member["kind"],
                row=place,
                dtype=row["dtype"],
                shape=tuple(row["shape"]),
                checksum=row["checksum"],
                fps=row.get("fps"),
            )
        return samples

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
