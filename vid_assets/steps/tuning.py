"""What other limits would do to this home, and limits proposed from it. Judges stored scores; opens no video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vid_assets.config import Config
from vid_assets.config_changes import Changes, changed
from vid_assets.curation.calibration import Proposal, propose
from vid_assets.curation.policy import RULES, Failure
from vid_assets.curation.scores import METRICS
from vid_assets.curation.tuning import Flip, Scored, failures_of, flips, reasons_of
from vid_assets.project import Project
from vid_assets.stage_inputs import presence
from vid_assets.steps.duplicates import losers


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
    wanted = names or [rule.name for rule in RULES if rule.calibrated]
    policy = project.config.policy
    return propose(clips, failures_of(clips, policy), policy, wanted, share)


def scored_clips(project: Project) -> tuple[list[Scored], int]:
    """All clips of present videos that have scores, in order of video and time; how many have none."""
    store, here = project.store, set(presence(project))
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
    return failures, reasons_of(failures, (one.clip_id for one in losers(project, accepted, config)))


def _totals(clips: Iterable[Scored]) -> Totals:
    kept = list(clips)
    videos = [clip for clip in kept if clip.kind == "video"]
    return Totals(len(videos), len(kept) - len(videos), sum(clip.length_s for clip in videos) / 3600)


def _latents(project: Project, kept: Iterable[Scored]) -> tuple[int | None, int | None, str | None]:
    """How many windows the kept clips have, and how many of them have no latent yet."""
    from model.errors import ModelError
    from model.weights import WeightsError
    from vid_assets.stage_inputs import batches
    from vid_assets.steps.latent_plan import plan_latents
    from vid_assets.steps.latents import statuses
    from vid_assets.steps.vae import weights_of

    try:
        weights = weights_of(project, project.config.vae)
    except (ModelError, WeightsError) as error:
        return None, None, str(error)
    ids = {clip.clip_id for clip in kept}
    samples = set()
    windows = 0
    for batch in batches(project):
        planned = plan_latents(project, batch, weights.hash, kept=ids).latents
        windows += len(planned)
        samples |= {one.parts.sample_id for one in planned}
    done = sum(status == "ok" for status in statuses(project, samples).values())
    return windows, len(samples) - done, None
