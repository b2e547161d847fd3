"""What to change where a training step does not fit its memory, each with the memory that it would take."""

from __future__ import annotations

from dataclasses import replace

from model.denoisers import preset
from model.errors import ModelError
from model.memory.case import Case, Usage, in_words
from model.memory.plan import peak
from model.vaes import latent_space

#: What is tried: processes to divide over, and the rank of adapters.
_SHARDS, _RANK = (2, 4, 8, 16), 16


class DoesNotFitError(ModelError):
    """No policy fits the budget; the message names what would."""


def refusal(case: Case, usages: list[Usage], budget: float) -> DoesNotFitError:
    """The error for a case of which no policy fits, with every single change that would make it fit.

    Args:
        case: what was planned.
        usages: its policies.
        budget: bytes of one device.
    """
    leanest = min(usages, key=lambda one: one.peak)
    found = options(case, leanest, budget)
    words = "; ".join(found) if found else "no single change of those known here is enough; combine them"
    return DoesNotFitError(
        f"{case.preset}: a pass of {case.samples} x {'x'.join(map(str, case.shape))} latents takes "
        f"{in_words(leanest.peak)} even with the policy {leanest.name!r}; {in_words(budget)} are declared. "
        f"What would fit: {words}"
    )


def options(case: Case, leanest: Usage, budget: float) -> list[str]:
    """Single changes of `case` that fit `budget`, under the policy of `leanest`, each with its peak."""
    tried = []
    if case.samples > 1:
        tried.append(("micro_batch: 1", replace(case, samples=1, accumulates=True)))
    if case.optimizer != "adamw_8bit" and case.shards == 1:  # its blocks cannot be divided
        tried.append(("optimizer adamw_8bit", replace(case, optimizer="adamw_8bit")))
    if case.lora is None:
        adapters = {"rank": _RANK, "alpha": float(_RANK), "targets": None, "dropout": 0.0}
        tried.append((f"lora of rank {_RANK}", replace(case, lora=adapters)))
    if case.precision == "fp32" and case.device == "cuda":
        tried.append(("precision bf16", replace(case, precision="bf16")))
    fitting = []
    for words, other in tried:
        try:
            size = peak(other, leanest.policy)
        except ModelError:  # such as adapters without peft: no option here
            continue
        if size <= budget:
            fitting.append(f"{words} ({in_words(size)})")
    for shards in _SHARDS if case.optimizer != "adamw_8bit" else ():
        if shards > case.shards and (size := peak(replace(case, shards=shards), leanest.policy)) <= budget:
            fitting.append(f"engine fsdp2 with {shards} processes (about {in_words(size)} each)")
            break
    if frames := longest(case, leanest, budget):
        fitting.append(f"a shorter bucket, of at most {frames} frames")
    return fitting


def longest(case: Case, known: Usage, budget: float) -> int | None:
    """The most frames of a clip, of the case's height and width, that fit `budget` under one policy; None: not one.

    Memory is taken to grow in a straight line with frames; the answer is then measured, and shortened until it fits.
    """
    space = latent_space(preset(case.preset).latent_family)
    frames, height, width = case.shape

    def of(latent_frames: int) -> int:
        return peak(replace(case, shape=(latent_frames, height, width)), known.policy)

    other = max(1, frames // 2) if frames > 1 else 2
    slope = (known.peak - of(other)) / (frames - other)
    best = int(frames + (budget - known.peak) / slope) if slope > 0 else frames
    step = max(1, (space.frame_step or 1) // space.temporal)
    best -= (best - 1) % step  # latents of CogVideoX have an odd number of frames
    while best >= 1 and of(best) > budget:
        best -= step
    return (best - 1) * space.temporal + 1 if best >= 1 else None
