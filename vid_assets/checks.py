"""Asset checks: how an asset's facts are judged. Blocking ones stop what is downstream in the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from vid_assets.project import Project


def result(name: str, passed: bool, description: str, metadata: Mapping[str, Any] | None = None) -> dg.AssetCheckResult:
    """The result of a check that is an error where it does not pass."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=dict(metadata or {}),
    )


def share_check(name: str, good: int, total: int, least: float, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Passes where `good` of `total` is at least the share `least`; nothing at all passes too."""
    share = good / total if total else 1.0
    return result(name, share >= least, f"{good} of {total} ({share:.0%}); at least {least:.0%} is asked for", metadata)


def latent_checks(project: Project, batch: str | None, facts: Mapping[str, Any]) -> Sequence[dg.AssetCheckResult]:
    """rows = windows, unique keys, and finite values in a sample of what is stored (all failed rows are named)."""
    from vid_assets.steps.latents import stored_sample, window_keys

    windows, unique, rows = window_keys(project, str(batch))
    damaged = stored_sample(project, str(batch), count=16)
    return [
        result("rows_equal_windows", windows == rows, f"{rows} latents for {windows} windows of kept clips"),
        result("keys_unique", windows == unique, f"{unique} different keys for {windows} windows"),
        result(
            "latents_finite",
            not damaged,
            "every latent that was read back is finite and has its checksum"
            if not damaged
            else f"{len(damaged)} of the latents read back are damaged, {damaged[0]} among them",
        ),
    ]


def loss_check(project: Project, partition: str | None, facts: Mapping[str, Any]) -> Sequence[dg.AssetCheckResult]:
    """The loss of every step is a finite number."""
    import math

    finite = all(math.isfinite(float(facts[name])) for name in ("first loss", "last loss"))
    return [
        result(
            "loss_finite",
            finite,
            f"loss {facts['first loss']:.4g} -> {facts['last loss']:.4g} in {facts['steps']} steps",
        )
    ]
