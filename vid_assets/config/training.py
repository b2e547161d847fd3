"""The sections `train` and `evaluation`: how runs are carried out, and what is made of their checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vid_assets.config.base import Section


class Train(Section):
    """How training runs are carried out. None of this changes what is learned, beyond rounding."""

    automatic: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0, description="processes that read batches ahead; 0: a thread, mostly faster")
    processes: int | None = Field(None, ge=1, description="training processes; null: one for each GPU, or one")
    engine: Literal["ddp", "fsdp2"] = Field(
        "ddp", description="ddp: each process has the whole model; fsdp2: weights, gradients and optimiser are divided"
    )
    memory_gb: float | None = Field(None, gt=0, description="GiB of one device that a run may take; null: not planned")
    keep_last: int = Field(2, ge=1, description="step folders kept, beside the best by held-out loss")
    validate_every: int | None = Field(
        None, ge=1, description="steps between measurements of the held-out loss; null: at the start and the end alone"
    )
    dry_run: bool = Field(True, description="one step of each bucket first, so that one too long fails at once")
    tensorboard: bool = True


class Evaluation(Section):
    """What is generated and measured after each stage."""

    videos: int = Field(2, ge=0)
    sampling_steps: int = Field(20, ge=1)
    guidance: float | None = Field(
        None, ge=0, description="scale of classifier-free guidance, twice the work; null: none (as 1)"
    )
    fps: int = Field(8, ge=1)
    seed: int = 0
    decode_dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="the VAE decodes in it")
    decode_tiling: bool = Field(False, description="decode in spatial tiles: less memory, blended seams")
