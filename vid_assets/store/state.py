"""The state of an asset, stored beside the data: what a finished asset partition was made from, and what it holds.

A state is a small JSON file, `state/<asset>/<partition>.json` below the home, written after the data by an atomic
replacement and removed before the data is touched: no state means not finished. It is sealed by a hash of its own
text, so a damaged one is noticed and treated as absent. Runs of one partition are kept apart by a lock file; what
must have the home to itself (`alone`) is kept apart from all of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import UserError
from vid_assets.digests import canonical, digest
from vid_assets.store.place import files_at, local_folder

log = logging.getLogger(__name__)
GLOBAL = "_all"
_IN_USE = "in-use.lock"


class BusyError(UserError, RuntimeError):
    """Something is at work in this home, which must be left alone; the message names it."""


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

    def differences(self, other: Fingerprint, adopted: Collection[str] = ()) -> list[str]:
        """In words, what made `self` differ from the earlier `other`.

        `adopted` are inputs that an earlier release did not record: one that `other` lacks is no difference.
        """
        found = []
        if self.code_version != other.code_version:
            found.append(f"code {other.code_version} -> {self.code_version}")
        for key in sorted(set(self.config) | set(other.config)):
            old, new = other.config.get(key), self.config.get(key)
            if old != new:
                found += _config_differences(key, old, new)
        taken_over = set(adopted) - set(other.inputs)
        for key in sorted((set(self.inputs) | set(other.inputs)) - taken_over):
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
class AssetState:
    """The record of a finished asset partition.

    `data_version` is the hash of the output's content; `output_digest` covers keys and cache keys too and is compared
    with the output on every hit. `retry` says that some rows failed in a way that the next run may cure;
    `failed_checks` names blocking checks that did not pass, with what they found: nothing is built on such an output.
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
    """Reads, writes, removes and locks the states of one home. Locks are always on the local disk."""

    def __init__(self, home: str) -> None:
        self.folder = local_folder(home) / "state"
        self._files = files_at(f"{home}/state")

    def path(self, asset: str, partition: str | None) -> Path:
        """The file of an asset partition in a local home; its lock lies beside it."""
        return self.folder / _name(asset, partition)

    def read(self, asset: str, partition: str | None) -> AssetState | None:
        """The state, or None where there is none or it is damaged (which is logged)."""
        name = _name(asset, partition)
        try:
            raw = self._files.read(name)
        except FileNotFoundError:
            return None
        try:
            outer = json.loads(raw.decode("utf-8"))
            body = outer["state"]
            if outer["seal"] != digest(body):
                raise ValueError("its seal does not match its text")
            typed = {"fingerprint": Fingerprint(**body["fingerprint"]), "failed_checks": tuple(body["failed_checks"])}
            return AssetState(**(body | typed))
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self._files.root}/{name}"
            log.warning("%s is damaged (%s): treated as absent, rows are checked one by one", where, error)
            return None

    def write(self, state: AssetState) -> None:
        """Write the state in one atomic step, as finished now where it does not say when."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        stamped = asdict(state) | {"finished_at": state.finished_at or now}
        body = json.loads(canonical(stamped))
        text = json.dumps({"seal": digest(body), "state": body}, indent=1)
        self._files.write(_name(state.asset, state.partition), text.encode())

    def remove(self, asset: str, partition: str | None) -> None:
        """Forget the state: the output is about to change."""
        self._files.remove(_name(asset, partition))

    def finished(self) -> list[tuple[str, str | None]]:
        """The asset partitions that have a state."""
        names = (name for name in self._files.sizes() if name.endswith(".json"))
        paths = [Path(name) for name in names if not name.startswith(("hashes/", "weights/"))]  # remembered, no states
        found = [(str(path.parent), None if path.stem == GLOBAL else path.stem) for path in paths]
        return sorted(found, key=lambda one: (one[0], one[1] or ""))

    def partitions(self, asset: str) -> list[str]:
        """The partitions of `asset` that have a state."""
        return [partition for name, partition in self.finished() if name == asset and partition is not None]

    @contextlib.contextmanager
    def lock(self, asset: str, partition: str | None) -> Iterator[None]:
        """Keep two runs of one asset partition apart; a dead process holds no lock."""
        with locked(self.folder / _IN_USE, shared=True), locked(self.path(asset, partition).with_suffix(".lock")):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have the home to oneself: nothing that takes a lock of it runs meanwhile. Raises `BusyError` at once."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / _IN_USE, wait=False))
            except BlockingIOError:
                busy = ", ".join(self._at_work()) or "another process"
                raise BusyError(
                    f"{busy} is at work in {self.folder.parent}. Wait for it to end, or stop it; nothing was changed."
                ) from None
            yield

    def _at_work(self) -> list[str]:
        """The asset partitions that a process works on now."""
        held = []
        for path in sorted(self.folder.rglob("*.lock")):
            asset, partition = str(path.relative_to(self.folder).parent), path.stem
            if asset not in (".", "tables") and is_locked(path):
                held.append(asset if partition == GLOBAL else f"{asset} [{partition}]")
        return held


def _name(asset: str, partition: str | None) -> str:
    return f"{asset}/{partition or GLOBAL}.json"


@contextlib.contextmanager
def locked(path: Path, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, waiting for it where another process has it. The kernel frees that of a dead process.

    `shared`: others that ask for it shared may hold it too. Raises `BlockingIOError` where it is held and `wait` is
    False.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            log.info("%s: another process is at work; waiting for it to end", path)
            fcntl.flock(file, kind)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True
