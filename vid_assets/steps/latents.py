"""`latents`: encode the windows of the kept clips, once for each content key, and list them as samples."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from model.latent_space import DTYPE_BYTES, pixel_bytes
from vid_assets.project import Project
from vid_assets.steps.frame_stats import openable
from vid_assets.steps.latent_plan import LatentPlan, Planned, plan_latents
from vid_assets.steps.vae import checked_space, weights_of
from vid_assets.store.cache import Output, read_slice, sync_slice
from vid_assets.store.state import StageState, digest
from vid_assets.store.tables import Row, equals, one_of

Progress = Callable[[str], None]
_IDS_AT_ONCE = 2000
_QUIET_S = 30.0


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
    """Encode what is missing, flush by flush, then replace the batch's slice of `samples` in one commit.

    `encoder` is an `encoding.encoder.Encoder`, by default the one that the configuration names.
    """
    from vid_assets.steps.latent_audit import audit

    weights = weights_of(project, project.config.vae)
    checked_space(project, weights.folder)  # buckets may have changed since the VAE was resolved
    plan = plan_latents(project, batch, weights.hash)
    by_sample = {one.parts.sample_id: one for one in plan.latents}
    there = {} if force else statuses(project, by_sample)
    misses = [one for sample_id, one in by_sample.items() if there.get(sample_id) != "ok"]
    vae = configured_vae(project, str(weights.folder))
    if misses:
        encode_missing(project, misses, force, progress, encoder or configured_encoder(project, vae))
    _sync_samples(project, batch, plan.latents)
    found = stored(project, by_sample, ["status", "error", "shape", "frames", "height", "width", "fps", "dtype"])
    good = {sample_id: by_sample[sample_id] for sample_id, row in found.items() if row["status"] == "ok"}
    audited = audit(project, batch, good, {one.parts.sample_id for one in misses}, vae)
    version, output_digest = _digests(project, batch)
    return Output(
        version,
        output_digest,
        rows=len(found),
        computed=len(misses),
        cached=len(by_sample) - len(misses),
        retry=any(row["status"] != "ok" for row in found.values()),
        facts=_facts(plan, found) | {"audit": audited, "vae note": project.config.vae.note or ""},
    )


def encode_missing(project: Project, misses: Sequence[Planned], force: bool, progress: Progress, encoder: Any) -> None:
    """Encode windows and insert their rows, each flush in one commit; a failed row there gives way, with `force` any.

    What was encoded when an error ends the work is written before the error goes on.
    """
    replace = "true" if force else "target.status = 'failed'"
    began = told = time.monotonic()
    pending: list[Row] = []
    done = 0

    def flush() -> None:
        nonlocal pending
        project.store.insert_absent("latents", pending, replace_where=replace)
        pending = []

    try:
        with closing(encoder.batches(tasks_of(project, misses))) as batches:
            for rows in batches:
                pending += rows
                done += len(rows)
                full = len(pending) >= project.config.encoding.flush_rows
                if full:
                    flush()
                now = time.monotonic()
                if full or done == len(misses) or now - told >= _QUIET_S:
                    told = now
                    rate = done / max(now - began, 1e-9)
                    left = duration((len(misses) - done) / rate)
                    progress(f"encoded {done:,} of {len(misses):,} latents, {rate:.3g}/s, {left} left")
    except Exception:
        flush()
        raise
    flush()


def tasks_of(project: Project, planned: Iterable[Planned]) -> list[Any]:
    """What an encoder needs for each window."""
    from vid_assets.encoding.frames import Task

    sources = openable(project)
    return [
        Task(one.parts, one.window, sources[one.parts.source_hash], one.video, one.timestamps, one.route, one.crop)
        for one in planned
    ]


def configured_vae(project: Project, folder: str) -> Any:
    """The VAE in `folder` with the settings of the configuration, not loaded yet."""
    from vid_assets.encoding.vae import LazyVae

    vae, encoding = project.config.vae, project.config.encoding
    return LazyVae(folder, vae.family, vae.dtype, encoding.device, vae.tiling, vae.settings, encoding.threads)


def configured_encoder(project: Project, vae: Any) -> Any:
    """The encoder backend of the configuration."""
    from vid_assets.encoding.encoder import LocalEncoder
    from vid_assets.encoding.ray_encoder import RayEncoder

    encoding = project.config.encoding
    if encoding.backend == "ray":
        on_gpu = encoding.device != "cpu"
        return RayEncoder(vae.encode, encoding.batch_size, encoding.decoders, encoding.ray_actors, on_gpu)
    return LocalEncoder(vae.encode, encoding.batch_size, encoding.decoders)


def duration(seconds: float) -> str:
    """A time to wait, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _facts(plan: LatentPlan, found: Mapping[str, Row]) -> dict[str, Any]:
    good = [row for row in found.values() if row["status"] == "ok"]
    failed = [row for row in found.values() if row["status"] != "ok"]
    reasons = Counter(row["error"] or "no reason" for row in failed)
    return {
        "windows": len(plan.latents),
        "videos": sum(one.window.bucket.kind == "video" for one in plan.latents),
        "images": sum(one.window.bucket.kind == "image" for one in plan.latents),
        "failed": len(failed),
        "failures by reason": dict(reasons.most_common(10)),
        "by bucket": dict(sorted(Counter(one.window.bucket.name for one in plan.latents).items())),
        "sizes": _sizes(good),
        "seconds left out": _left_out(plan),
        "bytes": sum(_latent_bytes(row) for row in good),
        "raw pixel bytes": sum(_pixel_bytes(row) for row in good),
    }


def _sizes(good: Iterable[Row]) -> dict[str, str]:
    """By bucket, what a latent takes beside the pixels that it was made from."""
    sizes = {}
    for row in good:
        rate = f"@{row['fps']:g}" if row["fps"] else ""
        name = f"{row['frames']}x{row['height']}x{row['width']}{rate}"
        latent, pixels = _latent_bytes(row), _pixel_bytes(row)
        sizes[name] = f"{latent:,} bytes a latent, {pixels:,} as pixels: {pixels / latent:.1f} times smaller"
    return dict(sorted(sizes.items()))


def _latent_bytes(row: Row) -> int:
    return DTYPE_BYTES[row["dtype"]] * math.prod(row["shape"])


def _pixel_bytes(row: Row) -> int:
    return pixel_bytes(row["frames"], row["height"], row["width"])


def _left_out(plan: LatentPlan) -> dict[str, float]:
    """Seconds of kept clips that are in no window, by bucket and reason."""
    seconds: Counter[str] = Counter()
    for _, one in plan.left_out:
        seconds[f"{one.bucket}: {one.reason}"] += one.end_s - one.start_s  # type: ignore[assignment]
    return {reason: round(total, 2) for reason, total in sorted(seconds.items())}


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


def stored_latents(project: Project, sample_ids: Iterable[str]) -> Iterator[tuple[Row, bytes]]:
    """The rows and bytes of latents that were encoded, some at a time."""
    ids = sorted(set(sample_ids))
    for start in range(0, len(ids), 16):
        where = one_of("sample_id", ids[start : start + 16]) + " AND status = 'ok'"
        yield from project.store.read_blobs("latents", where, "latent")
