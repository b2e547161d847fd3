"""`latents`: encode the windows of the kept clips, once for each content key, and list them as samples."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from model.vaes.base import VAE_CODE_VERSION
from model.vaes.space import DTYPE_BYTES, pixel_bytes
from vid_assets.assets.asset import Asset, Slice, Work
from vid_assets.assets.encode.latent_audit import audit_view
from vid_assets.assets.encode.latent_checks import LATENT_CHECKS
from vid_assets.assets.encode.latent_plan import LatentPlan, Planned, latent_settings, plan_latents
from vid_assets.assets.encode.latent_work import configured_backend, lazy_vae, tasks_of
from vid_assets.assets.encode.stored_latents import statuses, stored
from vid_assets.assets.encode.vae import checked_space
from vid_assets.assets.queries import lost_clips
from vid_assets.assets.slices import PRESENT
from vid_assets.assets.weights import location, weights_of
from vid_assets.digests import digest
from vid_assets.encoding.content_key import LATENTS_VERSION
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.windows import WINDOWS_VERSION
from vid_assets.footage.decode import decoder_version
from vid_assets.section import part
from vid_assets.store.cache import Output, read_slice, sync_slice
from vid_assets.store.state import AssetState
from vid_assets.store.tables import Row, Store

if TYPE_CHECKING:
    from vid_assets.encoding.backend import Backend

#: Settings of `encoding` that say how the work is cut, where it is done and how it is audited.
_HOW = (
    *("backend", "ray_actors", "batch_size", "flush_rows", "decoders", "device", "threads"),
    *("audit", "psnr_min", "psnr_drop_max"),
)
_QUIET_S = 30.0


def latents(work: Work) -> Output:
    """Encode what is missing, flush by flush, then replace the batch's slice of `samples` in one commit."""
    store, weights = work.store, weights_of(work.local, work.runtime["weights"])
    buckets = [Bucket.parse(name) for name in work.config["buckets"]]
    # buckets may have changed since the VAE was resolved
    checked_space(weights.folder, work.config["vae"].family, buckets)
    plan = plan_latents(store, work.batch, work.config, weights.hash)
    by_sample = {one.parts.sample_id: one for one in plan.latents}
    there = {} if work.force else statuses(store, by_sample)
    misses = [one for sample_id, one in by_sample.items() if there.get(sample_id) != "ok"]
    if misses:
        encoding = work.runtime["encoding"]
        backend = configured_backend(encoding, lazy_vae(work))
        encode_missing(store, misses, backend, encoding.flush_rows, work.force, work.progress)
    work.left |= {"latent plan": by_sample, "encoded": {one.parts.sample_id for one in misses}}
    _sync_samples(work, plan.latents)
    found = stored(store, by_sample, ["status", "error", "shape", "frames", "height", "width", "fps", "dtype"])
    version, output_digest = _digests(work)
    return Output(
        version,
        output_digest,
        rows=len(found),
        computed=len(misses),
        cached=len(by_sample) - len(misses),
        retry=any(row["status"] != "ok" for row in found.values()),
        facts=_facts(plan, found) | {"vae note": work.runtime["note"]},
    )


def encode_missing(
    store: Store,
    misses: Sequence[Planned],
    backend: Backend,
    flush_rows: int,
    force: bool = False,
    progress: Callable[[str], None] = print,
) -> None:
    """Encode windows and insert their rows, each flush in one commit; a failed row there gives way, with `force` any.

    What was encoded when an error ends the work is written before the error goes on.
    """
    replace = "true" if force else "target.status = 'failed'"
    began = told = time.monotonic()
    pending: list[Row] = []
    done = 0

    def flush() -> None:
        nonlocal pending
        store.insert_absent("latents", pending, replace_where=replace)
        pending = []

    try:
        with closing(backend.batches(tasks_of(store, misses))) as batches:
            for rows in batches:
                pending += rows
                done += len(rows)
                full = len(pending) >= flush_rows
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


def _sync_samples(work: Work, planned: list[Planned]) -> None:
    captions = work.store.read("captions", work.here, ["clip_id", "caption_key"])
    caption_of = {row["clip_id"]: row["caption_key"] for row in captions}
    rows = {}
    for one in planned:
        rows[one.row_id] = {
            "row_id": one.row_id,
            "sample_id": one.parts.sample_id,
            "clip_id": one.clip["clip_id"],
            "video_id": one.parts.source_hash,
            "ingest_batch": work.batch,
            "bucket": one.window.bucket.name,
            "kind": one.window.bucket.kind,
            "caption_key": caption_of.get(one.clip["clip_id"]),
        }
    wanted = {row_id: digest(row) for row_id, row in rows.items()}
    sync_slice(
        work.store,
        "samples",
        work.here,
        wanted,
        lambda misses: (rows[row_id] for row_id in misses),
        flush_rows=100_000,
    )


def _digests(work: Work) -> tuple[str, str]:
    """Data version and output digest: the samples of the batch with the status of their latents, no float in it."""
    store, here = work.store, work.here
    samples = {row["row_id"]: row["sample_id"] for row in store.read("samples", here, ["row_id", "sample_id"])}
    status = statuses(store, samples.values())
    kept = read_slice(store, "samples", here).rows
    content = [(row_id, content, status.get(samples[row_id], "gone")) for row_id, _, content in kept]
    return digest(content), digest([content, [made_from for _, made_from, _ in kept]])


def _verify(work: Work, state: AssetState) -> str:
    return _digests(work)[1]


def _inputs(work: Work) -> dict[str, str]:
    """Who lost to a better copy, and which decoders there are."""
    decoders = f"{decoder_version('decord')}, {decoder_version('pyav')}"
    return {"duplicates": digest(lost_clips(work.store, work.batch)), "decoders": decoders}


ASSET = Asset(
    "latents",
    group="encode",
    doc="VAE latents of the kept clips that lost to none, in every bucket of the curriculum, encoded once.",
    kinds=frozenset({"pytorch", "lancedb"}),
    partitions="batch",
    tables=("latents", "samples"),
    code_version=f"{LATENTS_VERSION}.{VAE_CODE_VERSION}.{WINDOWS_VERSION}",
    upstream=("raw_videos", "frame_stats", "clips", "clip_scores", "curated_clips", "captions", "vae"),
    slices=(Slice(_inputs, tables=("duplicates",)), PRESENT),
    slices_of=("source_files", "duplicates"),
    config=lambda config, batch: latent_settings(config),
    runtime=lambda config, batch: {
        "weights": location(config.vae),
        "note": config.vae.note or "",
        "encoding": part(config.encoding, *_HOW),
    },
    run=latents,
    verify=_verify,
    views=lambda project, batch, facts: audit_view(project.folder("views", "audit"), str(batch)),
    checks=LATENT_CHECKS,
)
