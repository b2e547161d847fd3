"""`curated_clips`: the policy's verdict on every clip, from its scores. A changed threshold opens no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vid_assets.assets.asset import Asset, Work
from vid_assets.assets.curate.views import curation_views
from vid_assets.curation.metrics import METRICS
from vid_assets.curation.policy import POLICY_VERSION, judge
from vid_assets.digests import digest
from vid_assets.section import plain
from vid_assets.store.cache import Output, sync_slice
from vid_assets.store.tables import Row


def curated_clips(work: Work) -> Output:
    """Judge every clip by the policy: all failing rules, with value and limit."""
    store, here, policy = work.store, work.here, work.config["policy"]
    kinds = {row["clip_id"]: row["kind"] for row in store.read("clips", here, ["clip_id", "kind"])}
    columns = ["clip_id", "content_hash", *METRICS]
    scores = {row["clip_id"]: row for row in store.read("clip_scores", here, columns)}
    rules = digest([plain(policy), POLICY_VERSION])
    wanted = {
        clip_id: digest([row["content_hash"], kinds[clip_id], rules])
        for clip_id, row in scores.items()
        if clip_id in kinds
    }

    def compute(misses: list[str]) -> Iterable[Row]:
        for clip_id in misses:
            failures = judge(kinds[clip_id], scores[clip_id], policy)
            yield {
                "clip_id": clip_id,
                "ingest_batch": work.batch,
                "accepted": not failures,
                "failures": [vars(failure) for failure in failures],
                "policy_version": POLICY_VERSION,
            }

    output = sync_slice(store, "verdicts", here, wanted, compute, flush_rows=20_000, force=work.force)
    verdicts = store.read("verdicts", here, ["accepted", "failures"])
    output.facts |= {
        "accepted": sum(row["accepted"] for row in verdicts),
        "rejected": sum(not row["accepted"] for row in verdicts),
        "rejected by reason": rejected_by_reason(verdicts),
    }
    return output


def rejected_by_reason(verdicts: Iterable[Row]) -> dict[str, int]:
    """How many clips each rule rejects; a clip counts for every rule that it fails."""
    counts = Counter(failure["rule"] for row in verdicts for failure in row["failures"])
    return dict(counts.most_common())


ASSET = Asset(
    "curated_clips",
    group="curate",
    doc="The policy's verdict on every clip, with all failing rules, their values and limits. Opens no video.",
    kinds=frozenset({"python", "lancedb"}),
    partitions="batch",
    tables=("verdicts",),
    code_version=POLICY_VERSION,
    upstream=("clips", "clip_scores"),
    config=lambda config, batch: {"policy": config.policy},
    run=curated_clips,
    views=lambda project, batch, facts: curation_views(project, str(batch)),
)
