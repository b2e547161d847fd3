"""`latents`: encode the windows of the kept clips, once for each content key, and list them as samples."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.latent_space import VAE_CODE_VERSION, encode_settings
from vid_assets.curation.continuity import Event
from vid_assets.encoding.content_key import LATENTS_VERSION, LatentParts, latent_parts
from vid_assets.encoding.windows import LeftOut, Plan, Window, plan_windows
from vid_assets.footage.decode import Route, decoder_route, decoder_version
from vid_assets.project import Project
from vid_assets.stages import lost_clips, presence
from vid_assets.steps.frame_stats import openable
from vid_assets.steps.vae import weights_of
from vid_assets.store.cache import Output, read_slice, sync_slice
from vid_assets.store.state import StageState, canonical, digest
from vid_assets.store.tables import Row, equals, one_of

Progress = Callable[[str], None]
_IDS_AT_ONCE = 2000


@dataclass(frozen=True)
class Planned:
    """A window that should have a latent: its key's parts, and the rows that it comes from."""

    parts: LatentParts
    window: Window
    clip: Row
    video: Row
    crop: tuple[int, int, int, int] | None
    route: Route
    timestamps: Sequence[float]

    @property
    def row_id(self) -> str:
        """Key of the sample: the clip, the bucket and the number of the window."""
        return f"{self.clip['clip_id']}/{self.window.bucket.name}/{self.window.index}"


@dataclass
class LatentPlan:
    """What a batch's kept clips give: the latents that should be there, and the stretches that no window holds."""

    latents: list[Planned] = field(default_factory=list)
    left_out: list[tuple[str, LeftOut]] = field(default_factory=list)  # with their clip_id


def plan_latents(project: Project, batch: str, weights_hash: str, kept: Collection[str] | None = None) -> LatentPlan:
    """Every window of a batch's kept clips that lost to none, in every bucket that the curriculum needs.

    `kept` names other clips to plan for, as if they were the ones.
    """
    store, config, here = project.store, project.config, equals("ingest_batch", batch)
    if kept is None:
        accepted = store.read("verdicts", here + " AND accepted", ["clip_id"])
        kept = {row["clip_id"] for row in accepted} - set(lost_clips(project, batch))
    present = set(presence(project, batch))
    videos = {row["video_id"]: row for row in store.read("videos", here + " AND status = 'ok'")}
    scores = {row["clip_id"]: row for row in store.read("clip_scores", here, ["clip_id", "crop", "continuity"])}
    columns = ["video_id", "status", "timestamps"]
    proofs = {row["video_id"]: row for row in store.read("frame_stats", here + " AND `group` = 'proof'", columns)}
    settings = canonical(encode_settings(config.vae.family, config.vae.tiling) | {"dtype": config.vae.dtype})
    plan = LatentPlan()
    for clip in store.read("clips", here):
        video, proof = videos.get(clip["video_id"]), proofs.get(clip["video_id"])
        if video is None or proof is None or clip["clip_id"] not in kept or clip["video_id"] not in present:
            continue
        score = scores[clip["clip_id"]]
        crop = tuple(score["crop"]) if score["crop"] else None
        route = decoder_route(video, proof["status"] == "ok")
        times = proof["timestamps"] or []
        windows = clip_windows(project, clip, video, score, times)
        plan.left_out += [(clip["clip_id"], one) for one in windows.left_out]
        for window in windows.windows:
            parts = latent_parts(
                video,
                times,
                window,
                crop,
                f"{route} {decoder_version(route)}",
                config.vae.family,
                weights_hash,
                settings,
                config.encoding.posterior,
                f"{LATENTS_VERSION}.{VAE_CODE_VERSION}",
            )
            plan.latents.append(Planned(parts, window, clip, video, crop, route, times))
    return plan


def clip_windows(project: Project, clip: Row, video: Row, score: Row, times_s: Sequence[float]) -> Plan:
    """The windows of a clip, given its rows of `clips`, `videos` and `clip_scores` and its source's frame times."""
    crop, config = score["crop"], project.config
    width, height = (crop[2], crop[3]) if crop else (video["width"], video["height"])
    return plan_windows(
        clip["kind"],
        clip["start_s"],
        clip["end_s"],
        width,
        height,
        config.buckets,
        times_s,
        [Event(**event) for event in score["continuity"] or []],
        config.windows.motion_share_min,
    )


def stored(project: Project, sample_ids: Iterable[str], columns: Sequence[str]) -> dict[str, Row]:
    """The latents that are there, without their blobs, by sample_id."""
    ids = sorted(set(sample_ids))
    found: dict[str, Row] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        where = one_of("sample_id", ids[start : start + _IDS_AT_ONCE])
        found |= {row["sample_id"]: row for row in project.store.read("latents", where, ["sample_id", *columns])}
    return found


def statuses(project: Project, sample_ids: Iterable[str]) -> dict[str, str]:
    """The status of each latent that is there."""
    return {sample_id: row["status"] for sample_id, row in stored(project, sample_ids, ["status"]).items()}


def latents(
    project: Project, batch: str, force: bool = False, progress: Progress = print, encoder: Any = None
) -> Output:
    """Encode what is missing, flush by flush, then replace the batch's slice of `samples` in one commit."""
    weights = weights_of(project, project.config.vae)
    plan = plan_latents(project, batch, weights.hash)
    planned = plan.latents
    by_sample = {one.parts.sample_id: one for one in planned}
    there = {} if force else statuses(project, by_sample)
    misses = [one for sample_id, one in by_sample.items() if there.get(sample_id) != "ok"]
    done, began = 0, time.monotonic()
    for rows in _flushes(project, misses, str(weights.folder), encoder):
        project.store.insert_absent("latents", rows, replace_where="true" if force else "target.status = 'failed'")
        done += len(rows)
        rate = done / max(time.monotonic() - began, 1e-9)
        progress(f"encoded {done} of {len(misses)} latents, {rate:.1f}/s, {(len(misses) - done) / rate:.0f} s left")
    _sync_samples(project, batch, planned)
    found = stored(project, by_sample, ["status", "error", "shape", "frames", "height", "width"])
    failed = [row for row in found.values() if row["status"] != "ok"]
    good = [row for row in found.values() if row["status"] == "ok"]
    version, output_digest = _digests(project, batch)
    return Output(
        version,
        output_digest,
        rows=len(found),
        computed=len(misses),
        cached=len(by_sample) - len(misses),
        retry=bool(failed),
        facts={
            "windows": len(planned),
            "failed": len(failed),
            "errors": sorted({row["error"] for row in failed if row["error"]})[:10],
            "by bucket": dict(sorted(Counter(one.window.bucket.name for one in planned).items())),
            "seconds left out": _left_out(plan),
            "bytes": sum(4 * math.prod(row["shape"]) for row in good),
            "raw pixel bytes": sum(3 * row["frames"] * row["height"] * row["width"] for row in good),
            "vae note": project.config.vae.note or "",
        },
    )


def _left_out(plan: LatentPlan) -> dict[str, float]:
    """Seconds of kept clips that are in no window, by bucket and reason."""
    seconds: Counter[str] = Counter()
    for _, one in plan.left_out:
        seconds[f"{one.bucket}: {one.reason}"] += one.end_s - one.start_s  # type: ignore[assignment]
    return {reason: round(total, 2) for reason, total in sorted(seconds.items())}


def _flushes(project: Project, misses: list[Planned], folder: str, encoder: Any) -> Iterator[list[Row]]:
    """Rows of `latents` for the misses, as many at a time as are written in one commit."""
    if not misses:
        return
    from vid_assets.encoding.encoder import Task

    sources = openable(project)
    tasks = [
        Task(one.parts, one.window, sources[one.parts.source_hash], one.video, one.timestamps, one.route, one.crop)
        for one in misses
    ]
    pending: list[Row] = []
    for row in (encoder or _local_encoder(project, folder)).rows(tasks):
        pending.append(row)
        if len(pending) >= project.config.encoding.flush_rows:
            yield pending
            pending = []
    if pending:
        yield pending


def _local_encoder(project: Project, folder: str) -> Any:
    from model.vae import encode, load_vae
    from vid_assets.encoding.encoder import LocalEncoder

    config = project.config

    def load() -> Any:
        if config.encoding.threads:
            import torch

            torch.set_num_threads(config.encoding.threads)
        return load_vae(folder, config.vae.dtype, config.encoding.device, config.vae.tiling, config.vae.family)

    def run(vae: Any, frames: Any) -> Any:
        return encode(vae, frames, config.vae.family)

    return LocalEncoder(load, run, config.encoding.posterior, config.encoding.batch_size)


def _sync_samples(project: Project, batch: str, planned: list[Planned]) -> None:
    captions = project.store.read("captions", equals("ingest_batch", batch), ["clip_id", "caption_key"])
    caption_of = {row["clip_id"]: row["caption_key"] for row in captions}
    rows = {}
    for one in planned:
        rows[one.row_id] = {
            "row_id": one.row_id,
            "sample_id": one.parts.sample_id,
            "clip_id": one.clip["clip_id"],
            "video_id": one.parts.source_hash,
            "ingest_batch": batch,
            "bucket": one.window.bucket.name,
            "kind": one.window.bucket.kind,
            "caption_key": caption_of.get(one.clip["clip_id"]),
        }
    wanted = {row_id: digest(row) for row_id, row in rows.items()}
    sync_slice(
        project.store,
        "samples",
        equals("ingest_batch", batch),
        wanted,
        lambda misses: (rows[row_id] for row_id in misses),
        flush_rows=100_000,
    )


def _digests(project: Project, batch: str | None) -> tuple[str, str]:
    """Data version and output digest: the samples of the batch with the status of their latents, no float in it."""
    here = equals("ingest_batch", batch)
    samples = {row["row_id"]: row["sample_id"] for row in project.store.read("samples", here, ["row_id", "sample_id"])}
    status = statuses(project, samples.values())
    kept = read_slice(project.store, "samples", here).rows
    content = [(row_id, content, status.get(samples[row_id], "gone")) for row_id, _, content in kept]
    return digest(content), digest([content, [made_from for _, made_from, _ in kept]])


def verify(project: Project, partition: str | None, state: StageState) -> str | None:
    """The present digest of the batch's samples and latents."""
    return _digests(project, partition)[1]


def window_keys(project: Project, batch: str) -> tuple[int, int, int]:
    """How many windows a batch has, how many different keys they have, and how many latents have these keys."""
    keys = [row["sample_id"] for row in project.store.read("samples", equals("ingest_batch", batch), ["sample_id"])]
    rows = 0
    for start in range(0, len(keys), _IDS_AT_ONCE):
        rows += project.store.count("latents", one_of("sample_id", keys[start : start + _IDS_AT_ONCE]))
    return len(keys), len(set(keys)), rows


def stored_sample(project: Project, batch: str, count: int) -> list[str]:
    """Read up to `count` stored latents of a batch back; the keys of those that are damaged or not finite."""
    import hashlib

    import numpy as np

    keys = sorted(
        {row["sample_id"] for row in project.store.read("samples", equals("ingest_batch", batch), ["sample_id"])}
    )
    chosen = keys[:: max(1, len(keys) // count)][:count]
    damaged = []
    for row, payload in project.store.read_blobs(
        "latents", one_of("sample_id", chosen) + " AND status = 'ok'", "latent"
    ):
        values = np.frombuffer(payload, "<f4")
        whole = hashlib.sha256(payload).hexdigest() == row["checksum"] and values.size == math.prod(row["shape"])
        if not whole or not np.isfinite(values).all():
            damaged.append(row["sample_id"])
    return damaged
