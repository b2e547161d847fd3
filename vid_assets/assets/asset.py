"""What an asset is: its declaration, and what its work, its checks and its views are given.

An asset is declared once, beside its work, in the file that bears its name. Whatever is said of assets elsewhere
(Dagster's dependencies, what the automation ignores, what is launched, verified, removed or shown as stale) is derived
from the declarations. Declared means read: its work sees the configuration that entered its fingerprint, and a table
that it did not declare is refused, as is a write into one that is not its own. No Dagster here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.errors import UserError
from vid_assets.assets.queries import batches
from vid_assets.config import Config
from vid_assets.digests import digest
from vid_assets.project import Project
from vid_assets.section import plain
from vid_assets.store.cache import Output, read_slice
from vid_assets.store.state import AssetState, Fingerprint
from vid_assets.store.tables import Store, equals

if TYPE_CHECKING:
    from vid_assets.store.state import StateFolder

AssetGroup = Literal["ingest", "curate", "encode", "train"]
Partitions = Literal["batch", "experiment"] | None
#: The facts of an output, by the names that people read.
ShownFacts = Mapping[str, Any]
Settings = Mapping[str, Any]
#: Name of an asset partition that is not up to date -> why.
Unsettled = Mapping[str, tuple[str, ...]]


class UpstreamMissingError(UserError, RuntimeError):
    """An input of this asset has not been finished; the message names it and the command that makes it."""


@dataclass(frozen=True)
class Slice:
    """An input that is no asset's whole output: what of tables, of files or of weights concerns one partition.

    Attributes:
        inputs: its hashes by name, as they enter the fingerprint.
        tables: those that it is taken from; the asset's work may read them, whole.
        of_files: it is taken from the files that are listed, so the sensor knows by it what was made from which.
        adopted: names of inputs that the release before did not record. A state without them stands, and has them from
            its next look on.
    """

    inputs: Callable[[Work], dict[str, str]]
    tables: tuple[str, ...] = ()
    of_files: bool = False
    adopted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    passed: bool
    words: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A question that is asked of every output, with what a person should know of it.

    `blocking`: nothing is built on an output that does not pass. Others warn; they are asked once the output is sealed,
    before another process may change it.
    """

    name: str
    doc: str | Callable[[Config], str]
    judge: Callable[[Work, Output], Finding]
    blocking: bool = True


@dataclass(frozen=True)
class Asset:
    """One asset.

    Attributes:
        name: as in the web UI; the curriculum's have two parts, such as `checkpoint/short`.
        doc: what it does, for people.
        kinds: what it is made with, as Dagster shows it.
        run: does the work, and returns what came out.
        tables: those that its output lies in; the first is the one whose Lance version and bytes are shown.
        writes: further tables that it writes.
        upstream: the assets whose data versions enter the fingerprint, and whose tables may be read.
        slices: further inputs.
        slices_of: the assets of which a slice enters, but for those that an input of `upstream` is made from anyway.
            Dagster shows them as inputs, and the automation ignores their changes: the sensor and the nightly job know
            the slices.
        reads: further tables that may be read, because what is taken from them follows from the inputs; the
            declaration says how.
        config: the settings that enter the fingerprint, by name. The work sees these alone, and `runtime`.
        runtime: settings that say how the work is carried out, or where what a slice hashes lies. They must change
            nothing of what comes out.
        verify: the present digest of the output, None where it is gone; by default that of its slice of the table.
        views: pictures and tables for people: Markdown, or a path, by title. Drawn once the output is sealed.
        options: further switches of a run, with what each does.
        conditions: its states condition samples: training sets are made from it.
        wanted: whether a configuration has this asset at all.
        tolerant: works with what is there where a batch is not finished.
        automatic: whether the automation may start it.
        forms_batches: its output says which batches there are.
        changes: what would change, in words; for an asset whose input is not stored, so that no fingerprint tells.
    """

    name: str
    group: AssetGroup
    doc: str | Callable[[Config], str]
    kinds: frozenset[str]
    code_version: str
    run: Callable[[Work], Output]
    partitions: Partitions = None
    tables: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()
    slices_of: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    config: Callable[[Config, str | None], Settings] = lambda config, partition: {}
    runtime: Callable[[Config, str | None], Settings] = lambda config, partition: {}
    verify: Callable[[Work, AssetState], str | None] = lambda work, state: slice_digest(work)
    views: Callable[[Project, str | None, ShownFacts], Mapping[str, str | Path]] = lambda project, partition, facts: {}
    checks: tuple[Check, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    conditions: bool = False
    wanted: Callable[[Config], bool] = lambda config: True
    tolerant: bool = False
    automatic: Callable[[Config], bool] = lambda config: True
    forms_batches: bool = False
    changes: Callable[[Work], list[str]] | None = None

    @property
    def table(self) -> str | None:
        """The table whose version and bytes are shown."""
        return self.tables[0] if self.tables else None

    @property
    def of_data(self) -> bool:
        """Whether it is made of footage, with no training in it."""
        return self.group != "train"

    @property
    def adopted(self) -> tuple[str, ...]:
        """Inputs that the release before did not record."""
        return tuple(name for one in self.slices for name in one.adopted)

    def described(self, config: Config) -> str:
        """`doc`, for a configuration."""
        return told(self.doc, config)

    def settings(self, config: Config, partition: str | None) -> dict[str, Any]:
        """The part of the configuration that enters the fingerprint, as JSON holds it."""
        return plain(self.config(config, partition))


def told(doc: str | Callable[[Config], str], config: Config) -> str:
    """A description that may depend on the configuration."""
    return doc if isinstance(doc, str) else doc(config)


Assets = Mapping[str, Asset]


class Work:
    """One asset partition at work: what it may read, by what it declared.

    Args:
        assets: all assets of the project by name.
        options: switches of the run, by name; `force` and those of `Asset.options`.
        progress: told in words how the work goes on.
        stale: asked for the data assets that are not up to date.
        train: starts a training process with a manifest and waits for it; raises where it fails.
        run_id: of the orchestrator's run.
    """

    def __init__(
        self,
        project: Project,
        assets: Assets,
        name: str,
        partition: str | None = None,
        *,
        options: Mapping[str, bool] | None = None,
        progress: Callable[[str], None] = print,
        stale: Callable[[], Unsettled] = dict,
        train: Callable[[Path], None] | None = None,
        run_id: str | None = None,
    ) -> None:
        self.asset = assets[name]
        self.partition = partition if self.asset.partitions else None
        self.options = dict(options or {})
        self.progress, self.stale, self.run_id = progress, stale, run_id
        self._project, self._assets, self._train = project, assets, train
        #: What the work leaves in memory for the checks of its output.
        self.left: dict[str, Any] = {}

    @cached_property
    def config(self) -> Settings:
        """The settings that enter the fingerprint."""
        return self.asset.config(self._project.config, self.partition)

    @cached_property
    def runtime(self) -> Settings:
        """The settings that change nothing of what comes out."""
        return self.asset.runtime(self._project.config, self.partition)

    @cached_property
    def store(self) -> Store:
        """The tables that the asset declared."""
        return self._project.store.only(
            tables_of(self.asset, self._assets), (*self.asset.tables, *self.asset.writes), self.asset.name
        )

    @property
    def batch(self) -> str:
        """The ingest batch, of an asset that is partitioned by it."""
        assert self.partition is not None and self.asset.partitions == "batch"
        return self.partition

    @property
    def here(self) -> str:
        """The SQL condition of this batch's rows."""
        return equals("ingest_batch", self.batch)

    @property
    def experiment(self) -> str:
        """The experiment, of an asset that is partitioned by it."""
        assert self.partition is not None and self.asset.partitions == "experiment"
        return self.partition

    @property
    def force(self) -> bool:
        """Whether to compute again what is up to date."""
        return self.options.get("force", False)

    @property
    def local(self) -> Path:
        """The local folder of the home."""
        return self._project.local

    def folder(self, *parts: str) -> Path:
        """A folder below `local`, created where it does not exist."""
        return self._project.folder(*parts)

    def state(self, name: str, partition: str | None = None) -> AssetState | None:
        """The state of an asset that is declared as an input."""
        assert name in self.asset.upstream, f"{self.asset.name} does not declare {name} as an input"
        return self._states.read(name, partition)

    @property
    def stored_state(self) -> AssetState | None:
        """The state of this asset partition, None where it is not finished."""
        return self._states.read(self.asset.name, self.partition)

    def lock(self, what: str) -> AbstractContextManager[None]:
        """Keep other processes from what is shared by the partitions, or the stages, of this asset."""
        return self._states.lock(self.asset.name.partition("/")[0], what)

    def train(self, manifest: Path) -> None:
        """Train from a manifest, in a process of its own; raises where it does not end with a checkpoint."""
        assert self._train is not None, "nobody said how a training process is started"
        self._train(manifest)

    @property
    def _states(self) -> StateFolder:
        return self._project.states

    def fingerprint(self) -> Fingerprint:
        """What this asset partition would be made from now. Raises `UpstreamMissingError`."""
        inputs = {name: self._version(self._assets[name]) for name in self.asset.upstream}
        for one in self.asset.slices:
            inputs |= one.inputs(self)
        return Fingerprint(self.asset.code_version, plain(self.config), inputs)

    def _version(self, upstream: Asset) -> str:
        """The data version of an input; of one that is partitioned otherwise, a hash of all its partitions'."""
        if upstream.partitions == "batch" and self.asset.partitions != "batch":
            return digest(dict(self._batch_versions(upstream)))
        key = self.partition if upstream.partitions else None
        state = self._states.read(upstream.name, key)
        if state is None or state.failed_checks:
            raise _missing(upstream.name, key, state)
        return state.data_version

    def _batch_versions(self, upstream: Asset) -> Iterator[tuple[str, str]]:
        for batch in batches(self._project.store):
            state = self._states.read(upstream.name, batch)
            if state is not None and not state.failed_checks:
                yield batch, state.data_version
            elif self.asset.tolerant:
                yield batch, "unfinished"
            else:
                raise _missing(upstream.name, batch, state)


def tables_of(asset: Asset, assets: Assets) -> set[str]:
    """The tables that an asset's work may read: its own, those of its inputs, and those that it names."""
    found = {*asset.tables, *asset.writes, *asset.reads}
    for name in asset.upstream:
        found |= set(assets[name].tables)
    for one in asset.slices:
        found |= set(one.tables)
    return found


def slice_digest(work: Work) -> str:
    """The present digest of the asset's slice of its table; all of it, of an asset without partitions."""
    assert work.asset.table is not None, f"{work.asset.name} has no table; it must say how its output is verified"
    assert work.asset.partitions != "experiment", f"{work.asset.name} must say how its output is verified: which rows"
    return read_slice(work.store, work.asset.table, equals("ingest_batch", work.partition)).output_digest


def _missing(name: str, partition: str | None, state: AssetState | None) -> UpstreamMissingError:
    where = f" --partition {partition}" if partition else ""
    one = f"{name} [{partition}]" if partition else name
    if state is not None:
        return UpstreamMissingError(
            f"{one} failed its check {'; '.join(state.failed_checks)}. Nothing is built on it; mend that and "
            f"materialize {name} again."
        )
    return UpstreamMissingError(
        f"{one} is not finished. Run `dagster asset materialize -m vid_assets.definitions --select {name}{where}` "
        f"first, or `vid-assets run` for everything that is stale."
    )
