"""The training process of a Dagster run: started with Pipes, told who listens and whose child it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from model.training.launch import STOPPED

#: What `model.train` loads as its reporter, by name.
_REPORTER = "vid_assets.orchestration.training_report:reporter"


def train(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient, manifest: Path) -> None:
    """Train from a manifest, to the end. A stop that was asked for, and a failure, are each a clear `Failure`."""
    command = [sys.executable, "-m", "model.train", "--manifest", str(manifest)]
    command += ["--report", _REPORTER, "--parent-pid", str(os.getpid())]
    try:
        pipes.run(context=context, command=command)
    except DagsterPipesExecutionError as error:
        if str(error).endswith(f" {STOPPED}"):
            reason = "The training process was asked to stop. It saved its state; materialize again to go on."
        else:
            reason = f"The training process failed: {error}. The last lines of the run's stderr say why."
        raise dg.Failure(description=reason, allow_retries=False) from error
