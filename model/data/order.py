"""Which samples form which batch: a pure function of the membership, the seed and the position. No torch, no files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from model.errors import ModelError

#: Some samples of one bucket: its name, and their ids.
Group = tuple[str, list[str]]


class OrderError(ModelError):
    """The declared mix cannot be met, or a saved position belongs to another training set."""


class BatchOrder:
    """An endless sequence of batches; a batch holds at most one group of images and one of videos, each of one bucket.

    Each bucket is an endless stream: epoch after epoch, every sample once per epoch, in an order that only
    (seed, epoch, sample_id) decides, by hash. Batches are cut from the stream, so that no sample is dropped at the end
    of an epoch; a bucket with fewer samples than a batch needs repeats them.

    A sample is an image wherever that brings images to no more than their declared share of what was drawn. So every
    batch holds their share of samples to within one sample, and all batches together do. In tokens, what was
    drawn is within one sample of the share, its weight being the share of images times the tokens of a video plus the
    share of videos times those of an image. Within a kind, buckets take turns in proportion to `mix`, or else to their
    number of samples.

    Args:
        source: names what is ordered (uri, version, digest); a position is only valid for the same.
        buckets: bucket name -> its sample ids.
        kinds: bucket name -> `image` or `video`.
        image_share: share of samples, or of tokens, that are images, 0 to 1.
        batch_size: samples in a batch, over all ranks; or, for each video bucket, those in a batch with its videos (for
            each image bucket, where there are no videos).
        seed: seed of the order.
        tokens: bucket name -> tokens of a sample, where the share is one of tokens; None for one of samples.
        mix: bucket name -> its weight among the buckets of its kind, above 0; None for its number of samples.

    Raises:
        OrderError: a kind that the share asks for has no samples, or has samples and a share of nothing; a bucket
            with samples has no batch size or weight.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        buckets: Mapping[str, Sequence[str]],
        kinds: Mapping[str, str],
        image_share: float,
        batch_size: int | Mapping[str, int],
        seed: int,
        tokens: Mapping[str, int] | None = None,
        mix: Mapping[str, float] | None = None,
    ) -> None:
        self.seed = seed
        self.buckets = {name: sorted(ids) for name, ids in sorted(buckets.items()) if ids}
        self.kinds = {name: kinds[name] for name in self.buckets}
        self.share = Fraction(str(image_share))  # as written: 0.1 is one tenth, not its nearest binary fraction
        self.weights = {name: tokens[name] if tokens else 1 for name in self.buckets}
        self._valid_for = {
            **source,
            "seed": seed,
            "batch_size": batch_size if isinstance(batch_size, int) else dict(batch_size),
            "image_share": str(self.share),
            "share_unit": "tokens" if tokens else "samples",
            "mix": dict(mix) if mix else None,
        }
        self._check_mix()
        self.batch_sizes = self._sizes(batch_size)
        self._turns = self._turn_weights(mix)
        self._epochs: dict[str, tuple[int, list[str]]] = {}
        self._hashes: dict[str, np.ndarray] = {}
        self.position = 0
        self.used = dict.fromkeys(self.buckets, 0)

    def __next__(self) -> list[Group]:
        """The next batch, images first: for each group its bucket and its sample ids; `batch_sizes` in all."""
        turn = {kind: self._next_bucket(kind) for kind in ("image", "video") if kind in self.kinds.values()}
        groups = []
        for kind, count in self._mix(turn).items():
            name = turn[kind]
            if count:
                groups.append((name, self._samples(name, self.used[name], count)))
                self.used[name] += count
        self.position += 1
        return groups

    def __iter__(self) -> BatchOrder:
        return self

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON: how many batches were drawn, how many samples of each bucket, and from what."""
        return {**self._valid_for, "position": self.position, "used": dict(self.used)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved position. Raises `OrderError` when it belongs to another training set, seed or mix."""
        for key, ours in self._valid_for.items():
            if state.get(key) != ours:
                raise OrderError(f"the saved position is of the {key} {state.get(key)}, but here it is {ours}")
        if set(state["used"]) != set(self.used):
            raise OrderError(f"the saved position has the buckets {sorted(state['used'])}, not {sorted(self.used)}")
        self.position, self.used = state["position"], dict(state["used"])

    def most(self, bucket: str) -> int:
        """The most samples of a bucket that a batch can have."""
        size = self.batch_sizes.get(bucket) or max(self.batch_sizes.values())
        return most(size, self.kinds[bucket], self.share, self._valid_for["share_unit"])

    def _of(self, kind: str) -> list[str]:
        return [name for name, its in self.kinds.items() if its == kind]

    def _mix(self, turn: Mapping[str, str]) -> dict[str, int]:
        """How many samples of each kind the next batch has; `turn` is the bucket of each kind."""
        size = self.batch_sizes[turn.get("video") or turn["image"]]
        if len(turn) == 1:
            return dict.fromkeys(turn, size)
        counts = dict.fromkeys(turn, 0)
        drawn = {kind: sum(self.used[name] * self.weights[name] for name in self._of(kind)) for kind in turn}
        for _ in range(size):
            # one more image is due where it leaves images at no more than their share
            images = drawn["image"] + self.weights[turn["image"]]
            kind = "image" if images <= self.share * (images + drawn["video"]) else "video"
            counts[kind] += 1
            drawn[kind] += self.weights[turn[kind]]
        return counts

    def _next_bucket(self, kind: str) -> str:
        """The bucket of `kind` that lags most behind its share of what was drawn."""
        names = self._of(kind)
        total = sum(self._turns[name] for name in names)
        drawn = sum(self.used[name] for name in names) + 1
        # drawn * weight / total - used, without the division: exact, and ties go to the first name
        return max(names, key=lambda name: drawn * self._turns[name] - self.used[name] * total)

    def _samples(self, bucket: str, start: int, count: int) -> list[str]:
        """`count` samples of the stream of a bucket, from its `start`-th on."""
        taken: list[str] = []
        while len(taken) < count:
            epoch, offset = divmod(start + len(taken), len(self.buckets[bucket]))
            taken += self._epoch(bucket, epoch)[offset : offset + count - len(taken)]
        return taken

    def _epoch(self, bucket: str, epoch: int) -> list[str]:
        if self._epochs.get(bucket, (None,))[0] != epoch:
            names = self.buckets[bucket]
            if bucket not in self._hashes:
                self._hashes[bucket] = np.array([_hash(name) for name in names], np.uint64)
            # A hash decides, not a random generator, whose stream may change from one release to the next
            ranks = self._hashes[bucket]
            for key in (f"{self.seed}/{epoch}", f"{epoch}/{self.seed}"):
                ranks = _mixed(ranks ^ np.uint64(_hash(key)))
            self._epochs[bucket] = (epoch, [names[place] for place in np.argsort(ranks, kind="stable").tolist()])
        return self._epochs[bucket][1]

    def _sizes(self, batch_size: int | Mapping[str, int]) -> dict[str, int]:
        """Samples in a batch, by the bucket that decides: that of its videos, or of its images without any."""
        deciding = self._of("video") or self._of("image")
        if isinstance(batch_size, int):
            return dict.fromkeys(deciding, batch_size)
        _check_names("batch_size", batch_size, deciding)
        return {name: batch_size[name] for name in deciding}

    def _turn_weights(self, mix: Mapping[str, float] | None) -> dict[str, Fraction | int]:
        if mix is None:
            return {name: len(ids) for name, ids in self.buckets.items()}
        _check_names("mix", mix, list(self.buckets))
        return {name: Fraction(str(mix[name])) for name in self.buckets}

    def _check_mix(self) -> None:
        count = {"image": 0, "video": 0}
        for name, ids in self.buckets.items():
            count[self.kinds[name]] += len(ids)
        if not self.buckets:
            raise OrderError("the training set has no training samples")
        for kind, share in (("image", self.share), ("video", 1 - self.share)):
            if share > 0 and not count[kind]:
                raise OrderError(
                    f"{float(share):.0%} of the samples are to be {kind}s, but the training set has no {kind} sample "
                    f"to train on; change image_share ({float(self.share):g}) or the training set"
                )
            if share == 0 and count[kind]:
                raise OrderError(
                    f"the training set has {count[kind]} {kind} samples, but image_share {float(self.share):g} would "
                    f"never use them; declare their share or leave them out"
                )


def most(batch_size: int, kind: str, image_share: Fraction | float, share_unit: str) -> int:
    """The most samples of a kind, `image` or `video`, in a batch of the order; with a share of tokens, all may be."""
    if share_unit == "tokens":
        return batch_size
    share = Fraction(str(image_share))
    return math.ceil(batch_size * (share if kind == "image" else 1 - share))


def _check_names(key: str, given: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Every bucket that has samples needs a value. One without samples, which footage may still fill, may have one."""
    missing = [name for name in wanted if name not in given]
    if missing:
        raise OrderError(f"{key} lacks {', '.join(missing)}; it has {', '.join(given) or 'nothing'}")


def _hash(text: str) -> int:
    """64 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64 bits that spreads each over all."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def part_of(batch: Sequence[Group], rank: int, world_size: int) -> list[Group]:
    """One rank's samples of a batch: every `world_size`-th, so that each rank gets images and videos alike."""
    place, part = 0, []
    for bucket, ids in batch:
        mine = ids[(rank - place) % world_size :: world_size]
        place += len(ids)
        if mine:
            part.append((bucket, mine))
    return part
