"""Several training runs, one after the other, in each of two processes, which import torch once for all of them.

Run by `model.training.launch`: `python -m vid_assets_tests.unit.model.ranks PLAN`, a JSON list of
`{"manifest": ..., "how": ...}`, where `how` is one of

    {}                  both processes train to the end
    {"stop": steps}     a stop is asked for in process 1 alone, after so many steps
    {"error": file}     both processes refuse the run; what each says goes to `file`.RANK
    {"die": steps}      process 1 kills itself after so many steps; the next run is of process 0 alone
    {"killed": true}    this process is killed when it has just written its first step folder
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.errors import ModelError
from model.training.parallel import Stopped, is_loss_of_another
from model.training.reporting import Silent
from vid_assets_tests.unit.model.tables import train


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--parent-pid", type=int)
    options = parser.parse_args()
    meeting, rank = os.environ["MODEL_TRAIN_MEETING"], os.environ["RANK"]
    for number, item in enumerate(json.loads(options.plan.read_text())):
        os.environ["MODEL_TRAIN_MEETING"] = f"{meeting}-{number}"
        how = item["how"]
        if "killed" in how:
            threading.Thread(target=kill_after_save, args=(Path(item["manifest"]["output"]),), daemon=True).start()
        try:
            train(item["manifest"], Silent(), stop_reason(how))
        except Stopped:
            pass
        except (ModelError, RuntimeError) as error:
            if "die" in how and is_loss_of_another(error):
                os.environ["WORLD_SIZE"] = "1"
            elif "error" not in how:
                raise
            else:
                Path(f"{how['error']}.{rank}").write_text(str(error))
                torch.distributed.destroy_process_group()
    return 0


def stop_reason(how: dict[str, Any]) -> Callable[[], str | None]:
    """What is asked between steps."""
    asked, rank = iter(range(10**6)), os.environ["RANK"]

    def ask() -> str | None:
        step = next(asked)
        if rank == "1" and step >= how.get("die", 10**6):
            os.kill(os.getpid(), signal.SIGKILL)
        return "enough" if rank == "1" and step >= how.get("stop", 10**6) else None

    return ask


def kill_after_save(output: Path) -> None:
    while checkpoint.latest(output) is None:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
