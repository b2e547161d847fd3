"""The caching that every asset uses: layer 1 (rows) and layer 2 (a partition's fingerprint), nothing else.

`sync_slice` makes a slice of a table equal to a set of wanted rows and computes only those whose `cache_key` is not
there yet; `run_cached` wraps a whole asset partition: on an equal fingerprint and an intact output it does nothing,
otherwise it removes the state, lets the asset work, and writes the new state last. Killed at any moment, the next
run finds no state, and the rows that were flushed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vid_assets.digests import digest
from vid_assets.store.schemas import table_spec
from vid_assets.store.state import AssetState, Fingerprint, StateFolder
from vid_assets.store.tables import Row, Store, content_hashes

#: The one reason to run again that makes nothing stale: what is there stands, what failed may succeed now.
RETRY = "rows that failed are tried again"


@dataclass
class Output:
    """What an asset produced: the content's data version, a digest to verify it by, and what to show.

    `computed` counts rows made now, `cached` rows that were there. `facts` end up in the metadata of the
    materialisation and are stored in the state, so that a hit can show them too.
    """

    data_version: str
    output_digest: str
    rows: int
    computed: int = 0
    cached: int = 0
    retry: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What `run_cached` did: `hit`, or the reasons why it had to work; the output either way."""

    hit: bool
    output: Output
    reasons: tuple[str, ...] = ()


def run_cached(
    states: StateFolder,
    asset: str,
    partition: str | None,
    fingerprint: Callable[[], Fingerprint],
    compute: Callable[[], Output],
    verify: Callable[[AssetState], str | None],
    force: bool = False,
    failed_checks: Callable[[Output], Iterable[str]] = lambda output: (),
    adopted: Collection[str] = (),
    settled: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run `compute` unless the stored state says that its output is what it would produce.

    `verify` looks at the output itself and returns its present digest, None where it is gone. `failed_checks` names
    the blocking checks that a new output fails. `adopted` are inputs that an earlier release did not record: its
    output stands, and they are recorded from now on. `settled` is told of the outcome, sealed or up to date, while
    the partition is still locked: what it looks at cannot change or go meanwhile.
    """
    with states.lock(asset, partition):
        current = fingerprint()
        state = states.read(asset, partition)
        reasons = why_stale(state, current, verify, force, adopted)
        if state is not None and not reasons:
            if not set(adopted) <= state.fingerprint.inputs.keys():
                states.write(replace(state, fingerprint=current))
            facts = state.facts
            output = Output(state.data_version, state.output_digest, facts["rows"], 0, facts["rows"], facts=facts)
            outcome = Outcome(True, output)
            settled(outcome)
            return outcome
        states.remove(asset, partition)
        output = compute()
        output.facts["rows"] = output.rows
        states.write(
            AssetState(
                asset,
                partition,
                current,
                output.data_version,
                output.output_digest,
                output.retry,
                tuple(failed_checks(output)),
                output.facts,
            )
        )
        outcome = Outcome(False, output, tuple(reasons))
        settled(outcome)
    return outcome


def why_stale(
    state: AssetState | None,
    fingerprint: Fingerprint,
    verify: Callable[[AssetState], str | None],
    force: bool = False,
    adopted: Collection[str] = (),
) -> list[str]:
    """The reasons why an asset partition must be computed; none where its output is up to date."""
    if force:
        return ["forced"]
    if state is None:
        return ["never finished"]
    reasons = fingerprint.differences(state.fingerprint, adopted)
    if state.retry:
        reasons.append(RETRY)
    if not reasons and verify(state) != state.output_digest:
        reasons.append("its stored output was changed or deleted")
    return reasons


@dataclass(frozen=True)
class StoredSlice:
    """A slice as it lies in the table: its rows' keys with their cache keys and content hashes."""

    rows: tuple[tuple[str, str, str], ...]

    @property
    def data_version(self) -> str:
        """Hash of what the slice holds; does not change when equal content was made in another way."""
        return digest([(key, content) for key, _, content in self.rows])

    @property
    def output_digest(self) -> str:
        """Hash of what the slice holds and what it was made from."""
        return digest(self.rows)


def read_slice(store: Store, table: str, where: str) -> StoredSlice:
    """The slice `where` of `table`, without its payload."""
    key = table_spec(table).key[0]
    rows = store.read(table, where, [key, "cache_key", "content_hash"])
    return StoredSlice(tuple((row[key], row["cache_key"] or "", row["content_hash"] or "") for row in rows))


def sync_slice(
    store: Store,
    table: str,
    where: str,
    wanted: Mapping[str, str],
    compute: Callable[[list[str]], Iterable[Row]],
    *,
    retain: Callable[[str], bool] = lambda key: False,
    flush_rows: int = 256,
    force: bool = False,
) -> Output:
    """Make the slice `where` of `table` hold exactly the rows of `wanted` (key -> cache key).

    `compute` gets the keys whose rows are missing or were made from something else, and yields full rows in any
    order; they are written in flushes of `flush_rows`, so that a run that is killed loses one flush at most, and one
    that fails loses nothing. A row that is no longer wanted goes, unless `retain` says that it stays readable. A key
    that `compute` does not yield is an error: nothing is dropped in silence.
    """
    spec = table_spec(table)
    key = spec.key[0]
    before = {row[0]: row[1] for row in read_slice(store, table, where).rows}
    misses = [name for name, made_from in wanted.items() if force or before.get(name) != made_from]

    def flush(rows: list[Row]) -> None:
        hashes = content_hashes(rows, spec)
        technical = [{"cache_key": wanted[row[key]], "content_hash": value} for row, value in zip(rows, hashes)]
        store.upsert(table, [row | more for row, more in zip(rows, technical)])

    pending: list[Row] = []
    done: set[str] = set()
    try:
        for row in compute(misses) if misses else ():
            name = row[key]
            if name not in wanted:
                raise ValueError(f"{table}: computed row {name} was not asked for")
            pending.append(row)
            done.add(name)
            if len(pending) >= flush_rows:
                full, pending = pending, []
                flush(full)
    except Exception:  # that of one file, say: what was computed before it is kept
        flush(pending)
        raise
    flush(pending)
    lost = set(misses) - done
    if lost:
        raise ValueError(f"{table}: {len(lost)} rows were asked for and not computed, {sorted(lost)[0]} among them")
    gone = [name for name in before if name not in wanted and not retain(name)]
    store.delete_many(table, key, gone)
    after = read_slice(store, table, where)
    return Output(
        after.data_version,
        after.output_digest,
        rows=len(after.rows),
        computed=len(misses),
        cached=len(after.rows) - len(misses),
        facts={"removed": len(gone)},
    )
