"""The state of a stage, stored beside the data: what a finished asset partition was made from, and what it holds.

A state is a small JSON file, `state/<asset>/<partition>.json` below the home, written after the data by an atomic
replacement and removed before the data is touched: no state means not finished. It is sealed by a hash of its own
text, so a damaged one is noticed and treated as absent. Stages of one partition are kept apart by a lock file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
GLOBAL = "_all"


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """What an asset partition is made from. Equal fingerprints promise equal output."""

    code_version: str
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the three parts."""
        return digest(asdict(self))

    def with_inputs(self, extra: dict[str, str]) -> Fingerprint:
        """This fingerprint with further inputs."""
        return Fingerprint(self.code_version, self.config, self.inputs | extra)

    def differences(self, other: Fingerprint) -> list[str]:
        """In words, what made `self` differ from the earlier `other`."""
        found = []
        if self.code_version != other.code_version:
            found.append(f"code {other.code_version} -> {self.code_version}")
        for key in sorted(set(self.config) | set(other.config)):
            old, new = other.config.get(key), self.config.get(key)
            if old != new:
                found += _config_differences(key, old, new)
        for key in sorted(set(self.inputs) | set(other.inputs)):
            if self.inputs.get(key) != other.inputs.get(key):
                found.append(f"input {key} changed")
        return found


def _config_differences(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                found += _config_differences(f"{path}.{key}", old.get(key), new.get(key))
        return found
    return [f"config {path}: {json.dumps(old)} -> {json.dumps(new)}"]


@dataclass(frozen=True)
class StageState:
    """The record of a finished asset partition.

    `data_version` is the hash of the output's content; `output_digest` covers keys and cache keys too and is compared
    with the output on every hit. `retry` says that some rows failed in a way that the next run may cure;
    `failed_checks` names blocking checks that did not pass: nothing is built on such an output.
    """

    asset: str
    partition: str | None
    fingerprint: Fingerprint
    data_version: str
    output_digest: str
    retry: bool = False
    failed_checks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    finished_at: str = ""


class StateFolder:
    """Reads, writes, removes and locks the states of one home."""

    def __init__(self, home: str) -> None:
        self.folder = Path(home) / "state"

    def path(self, asset: str, partition: str | None) -> Path:
        """The file of an asset partition."""
        return self.folder / asset / f"{partition or GLOBAL}.json"

    def read(self, asset: str, partition: str | None) -> StageState | None:
        """The state, or None where there is none or it is damaged (which is logged)."""
        path = self.path(asset, partition)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            outer = json.loads(raw.decode("utf-8"))
            body = outer["state"]
            if outer["seal"] != digest(body):
                raise ValueError("its seal does not match its text")
            typed = {"fingerprint": Fingerprint(**body["fingerprint"]), "failed_checks": tuple(body["failed_checks"])}
            return StageState(**(body | typed))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s): treated as absent, rows are checked one by one", path, error)
            return None

    def write(self, state: StageState) -> None:
        """Write the state in one atomic step."""
        stamped = asdict(state) | {"finished_at": datetime.now(UTC).isoformat(timespec="seconds")}
        path = self.path(state.asset, state.partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".tmp-{os.getpid()}")
        body = json.loads(canonical(stamped))
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"seal": digest(body), "state": body}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def remove(self, asset: str, partition: str | None) -> None:
        """Forget the state: the output is about to change."""
        self.path(asset, partition).unlink(missing_ok=True)

    def partitions(self, asset: str) -> list[str]:
        """The partitions of `asset` that have a state."""
        folder = self.folder / asset
        return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []

    @contextlib.contextmanager
    def lock(self, asset: str, partition: str | None) -> Iterator[None]:
        """Keep two runs of one asset partition apart; a dead process holds no lock."""
        with locked(self.path(asset, partition).with_suffix(".lock")):
            yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, waiting for it where another process has it. The kernel frees that of a dead process."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is at work; waiting for it to end", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
