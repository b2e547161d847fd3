"""An encode in a process of its own, which a test may kill. What it needs is imported once, by the fork server.

Lance is imported there but not used, so that the processes which are forked from it may use it.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from vid_assets.project import Project
from vid_assets_tests.harness import run_asset

_IMPORTED = [
    *("lance", "lancedb", "av", "cv2", "decord", "diffusers.models.autoencoders.autoencoder_kl_hunyuan_video"),
    *("model.vaes.backend", "vid_assets.encoding.backend", "vid_assets.views.reconstructions"),
    "vid_assets_tests.assets.encoding_process",
]


def start(project: Project, batch: str, log: Path) -> BaseProcess:
    """Begin to encode a batch; `log` gets the key of every latent that was made, before it is written to the table."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_encode, args=(project.config, project.home, batch, str(log)))
    process.start()
    return process


def _encode(config: Any, home: str, batch: str, log: str) -> None:
    from vid_assets.encoding.backend import LocalBackend

    made = LocalBackend._rows

    def logged(self: LocalBackend, found: Any) -> list[dict[str, Any]]:
        rows = made(self, found)
        with open(log, "a", encoding="utf-8") as file:
            file.writelines(f"{row['sample_id']}\n" for row in rows)
        return rows

    LocalBackend._rows = logged  # type: ignore[method-assign]
    run_asset(Project(config, home), "latents", batch)
