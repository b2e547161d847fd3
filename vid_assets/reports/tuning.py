"""What other limits would do to this home, and limits proposed from it. Judges stored scores; opens no video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.errors import ModelError
from vid_assets.assets.curate.duplicates import losers
from vid_assets.assets.encode.latent_plan import latent_settings, plan_latents
from vid_assets.assets.encode.stored_latents import statuses
from vid_assets.assets.queries import batches, presence
from vid_assets.assets.weights import weights_of
from vid_assets.config import Config
from vid_assets.config.changes import Changes, changed
from vid_assets.curation.calibration import Proposal, propose
from vid_assets.curation.metrics import METRICS, RULES
from vid_assets.curation.policy import Failure
from vid_assets.curation.tuning import Flip, Scored, failures_of, flips, reasons_of
from vid_assets.project import Project


@dataclass(frozen=True)
class Totals:
    """What is kept: clips of videos, stills, and hours of video."""

    clips: int
    stills: int
    hours: float


@dataclass(frozen=True)
class Tuning:
    """The two sets of kept clips, and what lies between them.

    `windows` and `to_encode`: how many training windows the clips kept then have, and how many of these have no
    latent yet; None, with the reason in `no_latents`, where that cannot be known. `unscored`: clips without scores.
    """

    before: Totals
    after: Totals
    flips: list[Flip]
    windows: int | None
    to_encode: int | None
    no_latents: str | None
    unscored: int


def tune(project: Project, changes: Changes) -> Tuning:
    """Judge every clip by the configuration and by the changed one; nothing is written."""
    other = changed(project.config, changes)
    clips, unscored = scored_clips(project)
    _, before = _judged(project, clips, project.config)
    failures, after = _judged(project, clips, other)
    kept = [clip for clip in clips if not after[clip.clip_id]]
    windows, to_encode, problem = _latents(Project(other, project.home), kept)
    return Tuning(
        _totals(clip for clip in clips if not before[clip.clip_id]),
        _totals(kept),
        flips(clips, before, after, failures),
        windows,
        to_encode,
        problem,
        unscored,
    )


def calibrate(project: Project, names: Sequence[str], share: float) -> list[Proposal]:
    """Propose limits for the rules `names`, by default for those without a published source."""
    clips, _ = scored_clips(project)
    wanted = names or [rule.name for rule in RULES if rule.limit.calibrated]
    policy = project.config.policy
    return propose(clips, failures_of(clips, policy), policy, wanted, share)


def scored_clips(project: Project) -> tuple[list[Scored], int]:
    """All clips of present videos that have scores, in order of video and time; how many have none."""
    store, here = project.store, set(presence(project.store))
    rows = [row for row in store.read("clips") if row["video_id"] in here]
    scores = {row["clip_id"]: row for row in store.read("clip_scores", columns=["clip_id", *METRICS])}
    clips = [
        Scored(
            row["clip_id"],
            row["video_id"],
            row["kind"],
            row["start_s"],
            row["end_s"],
            {name: scores[row["clip_id"]][name] for name in METRICS},
        )
        for row in rows
        if row["clip_id"] in scores
    ]
    return sorted(clips, key=lambda clip: (clip.video_id, clip.start_s)), len(rows) - len(clips)


def _judged(
    project: Project, clips: list[Scored], config: Config
) -> tuple[Mapping[str, list[Failure]], Mapping[str, list[str]]]:
    failures = failures_of(clips, config.policy)
    accepted = {clip_id for clip_id, found in failures.items() if not found}
    return failures, reasons_of(
        failures, (one.clip_id for one in losers(project.store, accepted, config.duplicates.max_distance))
    )


def _totals(clips: Iterable[Scored]) -> Totals:
    kept = list(clips)
    videos = [clip for clip in kept if clip.kind == "video"]
    return Totals(len(videos), len(kept) - len(videos), sum(clip.length_s for clip in videos) / 3600)


def _latents(project: Project, kept: Iterable[Scored]) -> tuple[int | None, int | None, str | None]:
    """How many windows the kept clips have, and how many of them have no latent yet."""
    try:
        weights = weights_of(project.local, project.config.vae)
    except ModelError as error:
        return None, None, str(error)
    ids, settings = {clip.clip_id for clip in kept}, latent_settings(project.config)
    samples = set()
    windows = 0
    for batch in batches(project.store):
        planned = plan_latents(project.store, batch, settings, weights.hash, kept=ids).latents
        windows += len(planned)
        samples |= {one.parts.sample_id for one in planned}
    done = sum(status == "ok" for status in statuses(project.store, samples).values())
    return windows, len(samples) - done, None
