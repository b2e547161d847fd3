"""Which latents a batch should have: the windows of its kept clips, each with the parts of its key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from model.latent_space import VAE_CODE_VERSION, encode_settings
from vid_assets.curation.continuity import Event
from vid_assets.encoding.content_key import LATENTS_VERSION, LatentParts, latent_parts, posterior_name
from vid_assets.encoding.windows import LeftOut, Plan, Window, plan_windows
from vid_assets.footage.decode import Route, decoder_route, decoder_version
from vid_assets.project import Project
from vid_assets.stage_inputs import lost_clips, presence
from vid_assets.store.state import canonical
from vid_assets.store.tables import Row, equals


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
    vae = config.vae
    settings = canonical(encode_settings(vae.family, vae.tiling, vae.settings) | {"dtype": vae.dtype})
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
                posterior_name(config.encoding.posterior),
                config.encoding.dtype,
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
        config.encoding.first_frames,
    )
