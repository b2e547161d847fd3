"""A home as finished runs leave it, written row by row: what is stored can be tested without making it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vid_assets.project import Project
from vid_assets.store import pins
from vid_assets.store.state import AssetState, Fingerprint
from vid_assets_tests.harness import Home

BATCH_ASSETS = ("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "latents")


def payload(name: str) -> bytes:
    """The bytes that stand for the latent, the states or the picture called `name`; nothing else holds them."""
    return f"<{name}>".encode() * 300


class Stored:
    """Writes videos, training sets and runs into a home. Everything of the video `v` carries its name."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def project(self) -> Project:
        return self.home.project

    def video(self, name: str, batch: str = "b00001", caption: str | None = None, samples: int = 2) -> list[str]:
        """A video with one clip, its samples and latents; returns the sample ids."""
        store = self.project.store
        clip, ids = f"clip-{name}", [f"{name}-{number}" for number in range(samples)]
        video_id = self.video_id(name)
        caption_key = f"caption-{caption}" if caption else None
        row = {"uri": f"/footage/{name}.mp4", "size_bytes": 9, "etag": "1", "video_id": video_id, "state": "present"}
        store.upsert("sources", [row | {"hashed_version": "9:1", "ingest_batch": batch}])
        store.upsert("videos", [{"video_id": video_id, "ingest_batch": batch, "status": "ok", "cache_key": "k"}])
        jpeg = [{"time_s": 0.0, "jpeg": payload(f"thumbnail {name}")}]
        stats = {"row_id": f"{video_id}/thumbnails", "video_id": video_id, "ingest_batch": batch, "thumbnails": jpeg}
        store.upsert("frame_stats", [stats | {"group": "thumbnails"}])
        clip_row = {"clip_id": clip, "video_id": video_id, "ingest_batch": batch}
        store.upsert("clips", [clip_row])
        for table in ("clip_scores", "verdicts"):
            store.upsert(table, [{"clip_id": clip, "ingest_batch": batch}])
        texts = {"caption": caption, "caption_key": caption_key}
        store.upsert("captions", [{"clip_id": clip, "ingest_batch": batch, **texts}])
        if caption:
            self.embedding(f"states of {caption}", caption_key)
        self.latents(name, ids)
        rows = [{"row_id": f"{clip}/{one}", "sample_id": one, "clip_id": clip, "ingest_batch": batch} for one in ids]
        store.upsert("samples", [one | {"video_id": video_id, "bucket": "5x32x48@8"} for one in rows])
        for asset in BATCH_ASSETS:
            self.state(asset, batch)
        self.state("duplicates", None)
        return ids

    def video_id(self, name: str) -> str:
        return f"{name.encode().hex():0<12}"

    def latents(self, name: str, ids: list[str], weights: str = "weights") -> None:
        """Rows of `latents`, each with a payload of its own."""
        common = {"source_hash": self.video_id(name), "status": "ok", "vae": "hunyuan_video", "weights_hash": weights}
        rows = [{"sample_id": one, "latent": payload(f"latent {one}"), **common} for one in ids]
        self.project.store.insert_absent("latents", rows)

    def embedding(self, key: str, caption_key: str | None, kind: str = "text") -> None:
        row = {"key": key, "kind": kind, "caption_key": caption_key, "encoder_hash": "encoder", "status": "ok"}
        self.project.store.insert_absent("embeddings", [row | {"embedding": payload(key)}])

    def training_set(self, digest: str, ids: list[str], stage: str = "short", current: bool = True, **keys: str) -> int:
        """A pinned training set; `keys` are further columns of its members. Returns the version of the latents."""
        store = self.project.store
        members = [{"member_id": f"{digest}/{one}", "digest": digest, "sample_id": one, **keys} for one in ids]
        store.insert_absent("training_set_members", members)
        versions = pins.pin(store, digest)
        row = {"digest": digest, "stage": stage, **versions, "tag": pins.tag_name(digest)}
        store.upsert("training_sets", [row | {"train": len(ids), "heldout": 0, "created_at": datetime.now(UTC)}])
        if current:
            self.state(f"training_set/{stage}", None, version=digest)
        return versions["latents_version"]

    def run(self, key: str, digest: str, parent: str | None = None, stage: str = "short", finished: bool = True,
            current: bool = True, experiment: str = "one") -> Path:  # fmt: skip
        """The folder of a run whose weights have the hash `key`, with its row; a state names it if `current`."""
        folder = self.path("checkpoints", experiment, stage, key)
        (folder / "step-00000001").mkdir(parents=True)
        manifest = {"training_set": {"digest": digest}, "parent": {"weights_hash": parent} if parent else None}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        if finished:
            (folder / "final").mkdir()
            (folder / "final" / "checkpoint.json").write_text(json.dumps({"weights_hash": key}))
            row = {"run_key": key, "digest": digest, "stage": stage, "folder": self.relative(folder)}
            self.project.store.upsert("runs", [row | {"experiment": experiment, "weights_hash": key}])
            self.project.store.upsert("metrics", [{"metric_id": f"{key}/1", "run_key": key}])
        if finished and current:
            self.state(f"checkpoint/{stage}", experiment, folder=self.relative(folder / "final"))
        return folder

    def evaluation(self, name: str, samples: list[str], current: bool = True, stage: str = "short") -> Path:
        """An evaluation that shows samples."""
        folder = self.path("evaluations", "one", stage, name)
        folder.mkdir(parents=True)
        shown = [{"sample_id": one, "kind": "data"} for one in samples]
        (folder / "evaluation.json").write_text(json.dumps({"videos": shown}))
        for one in samples:
            (folder / f"{one}.mp4").write_bytes(payload(f"latent {one}"))
        if current:
            self.state(f"evaluation/{stage}", "one", folder=self.relative(folder))
        return folder

    def state(self, asset: str, partition: str | None, version: str = "v", **facts: Any) -> None:
        self.project.states.write(AssetState(asset, partition, Fingerprint("1"), version, "d", facts=facts))

    def path(self, *parts: str) -> Path:
        return Path(self.project.home, *parts)

    def relative(self, path: Path) -> str:
        return str(path.relative_to(self.project.home))

    def holds(self, name: str) -> list[str]:
        """The files of the home that hold the payload called `name`."""
        needle = payload(name)
        files = (path for path in self.path().rglob("*") if path.is_file())
        return [self.relative(path) for path in files if needle in path.read_bytes()]

    def keys(self, table: str, column: str) -> list[str]:
        return sorted(row[column] for row in self.project.store.read(table, columns=[column]))
