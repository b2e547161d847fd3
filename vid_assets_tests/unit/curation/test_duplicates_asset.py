"""The asset `duplicates` on tables whose videos do not exist: it works from scores alone, over all batches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_assets.assets.curate.duplicates import nearest_clips
from vid_assets.config.file import parse_config
from vid_assets.curation.hashing import MIRROR
from vid_assets.project import Project
from vid_assets.reports import why
from vid_assets_tests.harness import CONFIG, run_asset

SAMPLES = 24


class Corpus:
    """Clips whose scores are in the tables and whose videos are nowhere."""

    def __init__(self, folder: Path) -> None:
        config = copy.deepcopy(CONFIG) | {"sources": [{"uri": str(folder / "gone")}]}
        self.project = Project(parse_config(config, base=folder), str(folder / "home"))
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, batch: str, seed: int, width: int, **change: Any) -> None:
        """A video of one clip, `name`, that shows recording number `seed`."""
        rng = np.random.default_rng(seed)
        hashes = np.bitwise_xor.accumulate(np.uint64(1) << rng.integers(0, 64, SAMPLES).astype(np.uint64))
        if change.get("mirrored"):
            hashes ^= np.uint64(MIRROR)
        rng = np.random.default_rng(change.get("light", seed))
        quarters = 128 + np.cumsum(rng.normal(0, 2, (SAMPLES, 4)), axis=0)
        quarters = quarters[:, [1, 0, 3, 2]] if change.get("mirrored") else quarters
        here = {"ingest_batch": batch, "content_hash": name, "cache_key": name}
        video = {"video_id": f"video-{name}", "kind": "video", "size_bytes": 1_000_000}
        header = {"status": "ok", "width": width, "height": 100, "duration_s": 3.0}
        clip = {"clip_id": name, **here}
        source = {"uri": f"file:///gone/{name}", "state": "present", "hashed_version": "1", "etag": "1"}
        self._row("sources", source | here | video)
        self._row("videos", video | here | header)
        self._row("clips", clip | video | {"start_s": 0.0, "end_s": 3.0, "frame_count": 72})
        measured = {"hashes": hashes.view(np.int64).tolist(), "quarters": quarters.ravel().tolist()}
        if change.get("older"):
            measured = {"hashes": measured["hashes"][:4], "quarters": None}
        self._row("clip_scores", clip | measured | {"packet_hash": name, "crop": change.get("crop")})
        self._row("verdicts", clip | {"accepted": change.get("accepted", True), "failures": []})

    def _row(self, table: str, row: dict[str, Any]) -> None:
        self.rows.setdefault(table, []).append(row)

    def lost(self) -> dict[str, tuple[str, str]]:
        """What the asset finds: clip -> (the clip it lost to, kind); the batch of a loser is its own."""
        for table, rows in self.rows.items():
            self.project.store.upsert(table, rows)
        self.rows.clear()
        run_asset(self.project, "duplicates")
        rows = self.project.store.read("duplicates")
        return {row["clip_id"]: (row["duplicate_of"], row["kind"]) for row in rows}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


def test_a_new_batch_is_compared_with_the_others_without_their_videos(corpus):
    corpus.add("original", "b00001", seed=1, width=400)
    corpus.add("other", "b00001", seed=2, width=400)
    assert corpus.lost() == {}
    corpus.add("small", "b00002", seed=1, width=200)
    corpus.add("mirrored", "b00002", seed=2, width=200, mirrored=True)
    assert corpus.lost() == {"small": ("original", "near"), "mirrored": ("other", "mirrored")}
    corpus.add("large", "b00003", seed=1, width=800)
    assert corpus.lost() == {
        "small": ("large", "near"), "original": ("large", "near"), "mirrored": ("other", "mirrored"),
    }  # fmt: skip
    (row,) = corpus.project.store.read("duplicates", "clip_id = 'original'")
    assert row["ingest_batch"] == "b00001"


def test_a_loser_is_kept_again_when_its_winner_is_rejected(corpus):
    corpus.add("original", "b00001", seed=1, width=400)
    corpus.add("small", "b00002", seed=1, width=200)
    assert corpus.lost() == {"small": ("original", "near")}
    corpus.add("original", "b00001", seed=1, width=400, accepted=False)
    assert corpus.lost() == {}


def test_pixels_inside_the_bars_are_what_counts(corpus):
    corpus.add("boxed", "b00001", seed=1, width=400, crop=[50, 0, 300, 100])
    corpus.add("plain", "b00002", seed=1, width=350)
    assert corpus.lost() == {"boxed": ("plain", "near")}


def test_scores_that_an_older_release_wrote_are_left_alone(corpus):
    corpus.add("original", "b00001", seed=1, width=400)
    corpus.add("older", "b00001", seed=1, width=200, older=True)
    corpus.add("small", "b00002", seed=1, width=200)
    assert corpus.lost() == {"small": ("original", "near")}


def test_the_nearest_kept_clips_of_a_rejected_clip(corpus):
    for seed in range(2, 6):
        corpus.add(f"other-{seed}", "b00001", seed=seed, width=400)
    corpus.add("original", "b00001", seed=1, width=400)
    corpus.add("small", "b00002", seed=1, width=200)
    corpus.add("rejected", "b00002", seed=1, width=300, accepted=False)
    corpus.lost()
    first, second = nearest_clips(corpus.project.store, "rejected", 2)
    assert (first.clip_id, first.distance, first.kind, first.moves_alike) == ("original", 0, "near", True)
    assert second.clip_id.startswith("other") and second.distance > 6
    assert nearest_clips(corpus.project.store, "unknown", 2) == []


def test_why_says_that_what_looks_alike_is_another_recording_where_its_light_moves_otherwise(corpus):
    corpus.add("original", "b00001", seed=1, width=400)
    corpus.add("another take", "b00001", seed=1, width=200, light=7)
    assert corpus.lost() == {}
    (clip,) = corpus.project.store.read("clips", "clip_id = 'another take'")
    (line,) = why._nearest(corpus.project, clip)[1:]
    assert "0 bits: original" in line and line.endswith("no copy: its light moves otherwise")
    corpus.add("small", "b00002", seed=1, width=100)
    corpus.lost()
    (clip,) = corpus.project.store.read("clips", "clip_id = 'small'")
    told = {line.split(": ", 1)[1]: line for line in why._nearest(corpus.project, clip)[1:]}
    assert [line for name, line in told.items() if name == "original original 0.00-3.00 s"], "a copy, without that word"
