"""Which latents a batch should have: the windows of its kept clips, each with the parts of its key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.vaes import encode_settings
from model.vaes.base import VAE_CODE_VERSION
from vid_assets.assets.asset import UpstreamMissingError
from vid_assets.assets.queries import lost_clips, presence
from vid_assets.config import Config
from vid_assets.curation.continuity import Event
from vid_assets.digests import canonical
from vid_assets.encoding.content_key import LATENTS_VERSION, LatentParts, latent_parts, posterior_name
from vid_assets.encoding.settings import Bucket
from vid_assets.encoding.windows import ClipWindows, LeftOut, Window, plan_windows
from vid_assets.footage.decode import Route, decoder_route, decoder_version, in_order
from vid_assets.section import part
from vid_assets.store.tables import Row, Store, equals


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


def latent_settings(config: Config) -> dict[str, Any]:
    """What of the configuration decides which latents there are, and what is in them: `plan_latents` sees no more."""
    return {
        "buckets": [bucket.name for bucket in config.buckets],
        "encoding": part(config.encoding, "posterior", "dtype", "first_frames"),
        "windows": config.windows,
        "vae": part(config.vae, "family", "dtype", "tiling", "settings"),
    }


def plan_latents(
    store: Store, batch: str, settings: Mapping[str, Any], weights_hash: str, kept: Collection[str] | None = None
) -> LatentPlan:
    """Every window of a batch's kept clips that lost to none, in every bucket that the curriculum needs.

    Args:
        settings: of `latent_settings`.
        weights_hash: of the VAE.
        kept: other clips to plan for, as if they were the ones.

    Raises:
        UpstreamMissingError: statistics that the plan needs were not measured yet.
    """
    here, encoding = equals("ingest_batch", batch), settings["encoding"]
    if kept is None:
        accepted = store.read("verdicts", here + " AND accepted", ["clip_id"])
        kept = {row["clip_id"] for row in accepted} - set(lost_clips(store, batch))
    present = set(presence(store, batch))
    videos = {row["video_id"]: row for row in store.read("videos", here + " AND status = 'ok'")}
    scores = {row["clip_id"]: row for row in store.read("clip_scores", here, ["clip_id", "crop", "continuity"])}
    columns = ["video_id", "status", "timestamps"]
    proofs = {row["video_id"]: row for row in store.read("frame_stats", here + " AND `group` = 'proof'", columns)}
    counted = _packets(store, here)
    vae = settings["vae"]
    encoded = canonical(encode_settings(vae.family, vae.tiling, vae.settings) | {"dtype": vae.dtype})
    plan = LatentPlan()
    for clip in store.read("clips", here):
        video, proof = videos.get(clip["video_id"]), proofs.get(clip["video_id"])
        if video is None or proof is None or clip["clip_id"] not in kept or clip["video_id"] not in present:
            continue
        score = scores[clip["clip_id"]]
        crop = tuple(score["crop"]) if score["crop"] else None
        times = proof["timestamps"] or []
        if clip["video_id"] not in counted:
            raise UpstreamMissingError(
                f"frame_stats of batch {batch} is of an earlier release, which did not count packets. Materialize it "
                "first, or run `vid-assets run` for everything that is stale; what was measured stays."
            )
        packets_in_order = in_order(counted[clip["video_id"]], len(times))
        route = decoder_route(video, proof["status"] == "ok", packets_in_order)
        windows = clip_windows(settings, clip, video, score, times)
        plan.left_out += [(clip["clip_id"], one) for one in windows.left_out]
        for window in windows.windows:
            parts = latent_parts(
                video,
                times,
                window,
                crop,
                f"{route} {decoder_version(route)}",
                vae.family,
                weights_hash,
                encoded,
                posterior_name(encoding.posterior),
                encoding.dtype,
                f"{LATENTS_VERSION}.{VAE_CODE_VERSION}",
            )
            plan.latents.append(Planned(parts, window, clip, video, crop, route, times))
    return plan


def _packets(store: Store, where: str) -> dict[str, dict[str, float]]:
    """How the packets of each video lie."""
    rows = store.read("frame_stats", where + " AND `group` = 'packets'", ["video_id", "stats"])
    return {row["video_id"]: {one["name"]: one["values"][0] for one in row["stats"] or ()} for row in rows}


def clip_windows(
    settings: Mapping[str, Any], clip: Row, video: Row, score: Row, times_s: Sequence[float]
) -> ClipWindows:
    """The windows of a clip, given its rows of `clips`, `videos` and `clip_scores` and its source's frame times."""
    crop = score["crop"]
    width, height = (crop[2], crop[3]) if crop else (video["width"], video["height"])
    return plan_windows(
        clip["kind"],
        clip["start_s"],
        clip["end_s"],
        width,
        height,
        tuple(Bucket.parse(name) for name in settings["buckets"]),
        times_s,
        [Event(**event) for event in score["continuity"] or []],
        settings["windows"].motion_share_min,
        settings["encoding"].first_frames,
    )
