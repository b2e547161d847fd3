"""How fast stored latents come back as batches: `python -m benchmarks.loader`.

Side by side, on the same random float16 latents of 164 KB and of 4.2 MB, in the same random order, collated into
batches, in alternated runs:
- ours: `model.data.loader.Loader` on a table written as the store writes it, every row's checksum verified before;
- npy memmap: one array of all latents, rows by sorted index, the limit of what a page cache gives;
- safetensors files: one a clip, `load_file` and `stack`, as finetrainers and musubi-tuner keep latents;
- parquet row groups: the row group that holds a row, for each row, as FastVideo's map-style data set reads;
- lancedb.permutation: the latent in a fixed-size list, taken by sorted offsets.

Then ours in its first pass, which verifies every checksum, and with 1 and 2 worker processes; and all of them with the
files dropped from the page cache before each run. Needs about 1.3 GB in the temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Result, alternated, report

Read = Callable[[Sequence[int]], Any]


@dataclass(frozen=True)
class Case:
    """One size of latents: how many there are, and how they are read."""

    name: str
    shape: tuple[int, int, int, int]
    count: int
    batch: int
    row_group: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * 2


#: Moments of 17 frames at 128x256, and of 49 frames at 576x560, both 16 channels: 164 KB and 4.2 MB in float16.
CASES = (
    Case("164 KB", (32, 5, 16, 32), 1600, 16, 64),
    Case("4.2 MB", (32, 13, 72, 70), 64, 4, 8),
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the latents are written (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # as in a worker of a DataLoader; on a busy machine its threads wait for one another
    results = []
    for case in CASES:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            results += _compare(case, Path(scratch), options.repeats)
    report(results, options.json)


def _compare(case: Case, folder: Path, repeats: int) -> Iterator[Result]:
    write_all(case, folder)
    yield from _cold(case, folder)  # first: what is mapped somewhere cannot be dropped from the page cache
    yield from _warm(case, folder, repeats)


def _warm(case: Case, folder: Path, repeats: int) -> Iterator[Result]:
    from model.data.loader import Loader

    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()  # into the page cache
    data, order = open_ours(folder)
    alone, ahead = Loader(data, order, ahead=0), Loader(data, order)
    first = case.count / _timed(lambda: _take(alone, case.count))  # verifies every row
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: _take(alone, _some("ours", case)),
        "ours, read ahead by a thread": lambda: _drain(ahead, _some("ours", case)),
    }
    ids = _shuffled(folder, case)
    for name, opener in OTHERS.items():
        read = opener(case, folder)
        read(sorted(next(ids)))  # the first use of a library imports it and starts its threads
        runs[name] = lambda name=name, read=read: _read(read, ids, _some(name, case))  # type: ignore[misc]
    # The slow ones keep threads of their own, which go on after a run, so that whoever comes next would pay for them.
    seconds = alternated({name: run for name, run in runs.items() if name not in SLOW}, repeats)
    seconds |= alternated({name: run for name, run in runs.items() if name in SLOW}, min(repeats, 5))
    rates = {name: _some(name, case) / seconds[name] for name in runs}
    for name in list(rates)[1:]:
        times = min(repeats, 5) if name in SLOW else repeats
        yield _result(case, "one process", rates["ours"], rates[name], name, times)
    yield _result(case, "first pass, verifies checksums", first, rates["npy memmap"], "npy memmap", 1)
    for workers in (1, 2):
        with Loader(data, order, workers=workers) as loader:
            count = case.count // 2
            _take(loader, count)  # starts the processes
            each = statistics.median([_timed(lambda: _take(loader, count)) for _ in range(3)])  # noqa: B023
        how = f"{workers} worker{'s' * (workers > 1)}"
        yield _result(case, how, count / each, rates["npy memmap"], "npy memmap, one process", 3)


def _cold(case: Case, folder: Path, repeats: int = 3) -> Iterator[Result]:
    """With an empty page cache; each is opened anew, and ours verifies the checksum of all that it reads."""
    from model.data.loader import Loader

    def ours() -> float:
        data, order = open_ours(folder)
        with Loader(data, order) as loader:
            _drop_from_cache(folder)
            return 10 * case.batch / _timed(lambda: _take(loader, 10 * case.batch))

    def other(name: str) -> float:
        count = case.batch * (1 if name in SLOW else 10)
        read, ids = OTHERS[name](case, folder), _shuffled(folder, case)
        _drop_from_cache(folder)
        return count / _timed(lambda: _read(read, ids, count))

    rates = [(ours(), {name: other(name) for name in OTHERS}) for _ in range(repeats)]
    median = statistics.median(rate for rate, _ in rates)
    for name in OTHERS:
        its = statistics.median(others[name] for _, others in rates)
        yield _result(case, "cold page cache, verifies checksums", median, its, name, repeats)


def _result(case: Case, how: str, ours: float, other: float, name: str, repeats: int) -> Result:
    return Result("loader", f"{case.name}, {how}", ours, other, name, "samples/s", repeats, higher_is_better=True)


def _some(name: str, case: Case) -> int:
    """How many samples one run reads: half of all, of the slow ones a batch."""
    return case.batch if name in SLOW else case.count // 2


def _shuffled(folder: Path, case: Case) -> Iterator[list[int]]:
    """Batches of row numbers, in the order that ours reads them."""
    for batch in open_ours(folder)[1]:
        yield [int(name) for _, ids in batch for name in ids]


def _read(read: Read, ids: Iterator[list[int]], count: int) -> None:
    taken = 0
    while taken < count:
        rows = sorted(next(ids))
        read(rows)
        taken += len(rows)


def _drain(loader: Any, count: int) -> None:
    """So many samples, from nothing read ahead to nothing left over."""
    _take(loader, count)
    loader.close()


def _take(loader: Any, count: int) -> None:
    taken = 0
    while taken < count:
        taken += sum(len(part.samples) for part in next(loader))


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _drop_from_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def write_all(case: Case, folder: Path) -> None:
    """The same latents in every form."""
    import pyarrow.parquet as pq
    import torch
    from lancedb import connect
    from safetensors.torch import save_file

    every = np.lib.format.open_memmap(folder / "all.npy", "w+", np.float16, (case.count, *case.shape))
    rng = np.random.default_rng(0)
    flat = every.reshape(case.count, -1)
    for row in flat:
        row[:] = rng.standard_normal(row.size, np.float32)
    every.flush()
    (folder / "files").mkdir()
    for index, latent in enumerate(every):
        save_file({"latents": torch.from_numpy(latent)}, str(folder / "files" / f"{index}.safetensors"))
    names = [str(index) for index in range(case.count)]
    schema = pa.schema([("id", pa.string()), ("latent", pa.binary())])
    with pq.ParquetWriter(folder / "all.parquet", schema) as parquet:
        for start in range(0, case.count, case.row_group):
            stop = start + case.row_group
            rows = [row.tobytes() for row in flat[start:stop]]
            parquet.write_table(pa.table([names[start:stop], rows], schema=schema))
    fixed = pa.schema([("id", pa.string()), ("latent", pa.list_(pa.float16(), flat.shape[1]))])
    chunks = (
        pa.record_batch(
            [
                pa.array(names[start : start + case.row_group]),
                pa.FixedSizeListArray.from_arrays(flat[start : start + case.row_group].reshape(-1), flat.shape[1]),
            ],
            schema=fixed,
        )
        for start in range(0, case.count, case.row_group)
    )
    connect(folder / "lancedb").create_table("latents", data=pa.RecordBatchReader.from_batches(fixed, chunks))
    _write_ours(case, folder, names, flat)
    os.sync()


def _write_ours(case: Case, folder: Path, names: Sequence[str], flat: np.ndarray) -> None:
    """The two tables that a training set is read from, in several commits, as an encoder writes latents."""
    from vid_assets.store.schemas import table_spec
    from vid_assets.store.tables import Store, to_arrow

    store = Store(str(folder / "home"))
    spec = table_spec("latents")
    for start in range(0, case.count, case.count // 4):
        rows = []
        for name in names[start : start + case.count // 4]:
            latent = flat[int(name)].tobytes()
            stored = {"dtype": "float16", "shape": list(case.shape), "status": "ok", "latent": latent}
            rows.append({"sample_id": name, "checksum": hashlib.sha256(latent).hexdigest(), **stored})
        store.table("latents").add(to_arrow(rows, spec))
    member = {"digest": "d", "split": "train", "bucket": "b", "kind": "video"}
    members = [{"member_id": f"d/{name}", "sample_id": name, **member} for name in names]
    store.insert_absent("training_set_members", members)


def open_ours(folder: Path) -> tuple[Any, Any]:
    """The training set and its order."""
    from model.data.training_set import TrainingSet
    from model.manifest import TrainingSetSpec
    from vid_assets.store.tables import Store

    store = Store(str(folder / "home"))
    spec: dict[str, Any] = {"digest": "d", "embeddings_uri": None, "embeddings_version": None}
    for key, name in (("latents", "latents"), ("members", "training_set_members")):
        spec |= {f"{key}_uri": store.table_uri(name), f"{key}_version": store.version(name)}
    case = next(case for case in CASES if (folder / "all.npy").stat().st_size == case.count * case.size + 128)
    data = TrainingSet(TrainingSetSpec(**spec), 16)
    if data.latents.fallback:
        raise SystemExit(f"latents are not read from the map: {data.latents.fallback}")
    return data, data.order(0.0, case.batch, 0)


def _memmap(case: Case, folder: Path) -> Read:
    import torch

    every = np.load(folder / "all.npy", mmap_mode="r")
    return lambda ids: torch.from_numpy(every[ids])


def _safetensors(case: Case, folder: Path) -> Read:
    import torch
    from safetensors.torch import load_file

    files = [str(folder / "files" / f"{index}.safetensors") for index in range(case.count)]
    return lambda ids: torch.stack([load_file(files[index])["latents"] for index in ids])


def _parquet(case: Case, folder: Path) -> Read:
    import pyarrow.parquet as pq
    import torch

    def one(index: int) -> torch.Tensor:
        group = pq.ParquetFile(folder / "all.parquet").read_row_group(index // case.row_group).to_pydict()
        stored = bytearray(group["latent"][index % case.row_group])
        return torch.frombuffer(stored, dtype=torch.float16).view(case.shape)

    return lambda ids: torch.stack([one(index) for index in ids])


def _permutation(case: Case, folder: Path) -> Read:
    import torch
    from lancedb import connect
    from lancedb.permutation import Permutation

    def collate(batch: pa.RecordBatch) -> torch.Tensor:
        values = batch.column("latent").flatten().to_numpy(zero_copy_only=False)
        return torch.from_numpy(values.copy()).view(-1, *case.shape)

    table = connect(folder / "lancedb").open_table("latents")
    rows = Permutation.identity(table).select_columns(["latent"]).with_transform(collate)
    return rows.__getitems__


OTHERS: dict[str, Callable[[Case, Path], Read]] = {
    "npy memmap": _memmap,
    "safetensors files": _safetensors,
    "parquet row groups": _parquet,
    "lancedb.permutation": _permutation,
}
SLOW = {"parquet row groups", "lancedb.permutation"}


if __name__ == "__main__":
    main()
