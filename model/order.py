"""Which samples form which batch: a pure function of the membership, the seed and the position. No torch, no files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from model.errors import ModelError


class OrderError(ModelError):
    """The declared mix cannot be met, or a saved position belongs to another training set."""


class BatchOrder:
    """An endless sequence of batches; a batch holds samples of one bucket.

    Each bucket is an endless stream: epoch after epoch, every sample once per epoch, in an order that only
    (seed, epoch, sample_id) decides, by hash. Batches are cut from the stream, so that no sample is dropped at the end
    of an epoch; a bucket with fewer samples than a batch repeats them. Images come at exactly their declared share:
    after n batches, round-off aside, n * image_share of them were images. Within a kind, buckets take turns in
    proportion to their number of samples.

    Args:
        digest: names the membership; a position is only valid for the same one.
        buckets: bucket name -> its sample ids.
        kinds: bucket name -> `image` or `video`.
        image_share: share of samples that are images, 0 to 1.
        batch_size: samples in a batch.
        seed: seed of the order.

    Raises:
        OrderError: a kind that the share asks for has no samples, or has samples and a share of nothing.
    """

    def __init__(
        self,
        digest: str,
        buckets: Mapping[str, Sequence[str]],
        kinds: Mapping[str, str],
        image_share: float,
        batch_size: int,
        seed: int,
    ) -> None:
        self.digest, self.batch_size, self.seed = digest, batch_size, seed
        self.buckets = {name: sorted(ids) for name, ids in sorted(buckets.items()) if ids}
        self.kinds = {name: kinds[name] for name in self.buckets}
        self.share = Fraction(str(image_share))  # as written: 0.1 is one tenth, not its nearest binary fraction
        self._check_mix()
        self._epochs: dict[str, tuple[int, list[str]]] = {}
        self.position = 0
        self.used = dict.fromkeys(self.buckets, 0)

    def __next__(self) -> tuple[str, list[str]]:
        """The next batch: its bucket, and its sample ids (with repeats only where the bucket is small)."""
        before, after = (int(self.share * count) for count in (self.position, self.position + 1))
        bucket = self._next_bucket("image" if after > before else "video")
        start = self.used[bucket] * self.batch_size
        self.used[bucket] += 1
        self.position += 1
        return bucket, [self._sample(bucket, start + offset) for offset in range(self.batch_size)]

    def __iter__(self) -> BatchOrder:
        return self

    def state_dict(self) -> dict[str, Any]:
        """The position, as JSON: what was drawn so far, and from what."""
        return {"digest": self.digest, "seed": self.seed, "position": self.position, "used": dict(self.used)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved position. Raises `OrderError` when it belongs to another membership or seed."""
        for key, ours in (("digest", self.digest), ("seed", self.seed)):
            if state[key] != ours:
                raise OrderError(f"the saved position is of the {key} {state[key]}, but this training set has {ours}")
        if set(state["used"]) != set(self.used):
            raise OrderError(f"the saved position has the buckets {sorted(state['used'])}, not {sorted(self.used)}")
        self.position, self.used = state["position"], dict(state["used"])

    def _next_bucket(self, kind: str) -> str:
        """The bucket of `kind` that lags most behind its share of the samples."""
        names = [name for name, its in self.kinds.items() if its == kind]
        samples = sum(len(self.buckets[name]) for name in names)
        drawn = sum(self.used[name] for name in names) + 1
        # drawn * len / samples - used, without the division: exact, and ties go to the first name
        return max(names, key=lambda name: drawn * len(self.buckets[name]) - self.used[name] * samples)

    def _sample(self, bucket: str, index: int) -> str:
        ids = self.buckets[bucket]
        epoch, offset = divmod(index, len(ids))
        if self._epochs.get(bucket, (None,))[0] != epoch:
            self._epochs[bucket] = (epoch, sorted(ids, key=lambda sample: self._rank(epoch, sample)))
        return self._epochs[bucket][1][offset]

    def _rank(self, epoch: int, sample: str) -> bytes:
        """A hash decides, not a random generator, whose stream may change from one release to the next."""
        return hashlib.sha256(f"{self.seed}/{epoch}/{sample}".encode()).digest()

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
