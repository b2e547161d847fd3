"""Asset checks: how an asset's facts are judged. Blocking ones stop what is downstream in the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from vid_assets.project import Project


def result(
    name: str, passed: bool, description: str, metadata: Mapping[str, Any] | None = None, warning: bool = False
) -> dg.AssetCheckResult:
    """The result of a check that is an error where it does not pass, or a `warning`, which stops nothing."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if warning else dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=dict(metadata or {}),
    )


def share_check(name: str, good: int, total: int, least: float, metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Passes where `good` of `total` is at least the share `least`; nothing at all passes too."""
    share = good / total if total else 1.0
    return result(name, share >= least, f"{good} of {total} ({share:.0%}); at least {least:.0%} is asked for", metadata)


def latent_checks(project: Project, batch: str | None, facts: Mapping[str, Any]) -> Sequence[dg.AssetCheckResult]:
    """rows = windows, unique keys, shapes and types, a sample read back, and how like the audited latents decode."""
    from vid_assets.steps.latent_checks import batch_keys, damaged, misshapen
    from vid_assets.steps.latents import statuses

    keys = batch_keys(project, str(batch))
    rows, unique = len(statuses(project, keys)), len(set(keys))
    odd, broken = misshapen(project, keys), damaged(project, keys, count=16)
    return [
        result("rows_equal_windows", len(keys) == rows, f"{rows} latents for {len(keys)} windows of kept clips"),
        result("keys_unique", len(keys) == unique, f"{unique} different keys for {len(keys)} windows"),
        result("latents_shaped", not odd, _first_of(odd, "every latent has the shape and type of its bucket")),
        result("latents_finite", not broken, _first_of(broken, "what was read back is finite and has its checksum")),
        _reconstruction(project, facts),
    ]


def _first_of(problems: Sequence[str], otherwise: str) -> str:
    return f"{len(problems)} latents are wrong: {problems[0]}" if problems else otherwise


def _reconstruction(project: Project, facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    """A warning where the audited latents decode worse than they did, or than is asked for."""
    audit, limits = facts.get("audit", {}), project.config.encoding
    if not audit.get("latents") and not audit.get("not audited"):
        return result("reconstruction", True, "no latent was audited", warning=True)
    problems = list(audit.get("not audited", []))
    words = f"{audit['latents']} latents decode to a median of" if audit["latents"] else ""
    words += f" {audit['median psnr']} dB, the lowest to {audit['lowest psnr']}" if audit["latents"] else ""
    if limits.psnr_min is not None and audit.get("median psnr", limits.psnr_min) < limits.psnr_min:
        problems.append(f"encoding.psnr_min asks for {limits.psnr_min:g} dB")
    if "before" in audit:
        drop = audit["before"] - audit["their median psnr"]
        change = f"{audit['changed']} of these windows went from {audit['before']} to {audit['their median psnr']} dB"
        if drop > limits.psnr_drop_max:
            problems.append(f"{change}, a drop of more than encoding.psnr_drop_max, {limits.psnr_drop_max:g} dB")
        else:
            words += f"; {change}"
    return result("reconstruction", not problems, "; ".join(filter(None, [words, *problems])), audit, warning=True)


def loss_checks(project: Project, partition: str | None, facts: Mapping[str, Any]) -> Sequence[dg.AssetCheckResult]:
    """The loss is a finite number; a warning where that of held-out samples did not fall."""
    import math

    first, last, steps = float(facts["first loss"]), float(facts["last loss"]), facts["steps"]
    words = f"loss {first:.4g} -> {last:.4g} in {steps} steps"
    finite = math.isfinite(first) and math.isfinite(last)
    return [result("loss_finite", finite, words), _heldout_falls(facts)]


def _heldout_falls(facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    start, end = facts.get("held-out loss at the start"), facts.get("held-out loss")
    best = facts.get("best held-out loss")
    if start is None or end is None:
        return result("heldout_falls", True, "no sample is held out, so it was not measured", warning=True)
    words = f"held-out loss {start:.4g} -> {end:.4g} ({end / start - 1:+.1%})"
    if best and best["loss"] < end:
        words += f", the lowest was {best['loss']:.4g} at step {best['step']}"
    return result("heldout_falls", end < start, words, {"start": start, "end": end}, warning=True)
