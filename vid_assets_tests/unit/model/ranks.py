"""Several training runs, one after the other, in each of two processes, which import torch once for all of them.

Run by `model.training.launch`: `python -m vid_assets_tests.unit.model.ranks PLAN`, a JSON list of
`{"manifest": ..., "stop": steps | null, "die": rank | null}`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

from model.training.launch import LOST
from model.training.parallel import is_loss_of_another
from model.training.reporting import Silent
from model.training.trainer import Stopped, train


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--parent-pid", type=int)
    options = parser.parse_args()
    meeting = os.environ["MODEL_TRAIN_MEETING"]
    for number, item in enumerate(json.loads(options.plan.read_text())):
        os.environ["MODEL_TRAIN_MEETING"] = f"{meeting}-{number}"
        try:
            train(item["manifest"], Silent(), reason(item["stop"], item["die"]))
        except Stopped:
            pass
        except RuntimeError as error:
            if is_loss_of_another(error):
                return LOST
            raise
    return 0


def reason(stop: int | None, die: int | None) -> Any:
    """Asks for a stop, in one of the processes, after `stop` steps; at the same step, process `die` kills itself."""
    asked = iter(range(10**6))

    def ask() -> str | None:
        if stop is not None and next(asked) >= stop:
            if int(os.environ["RANK"]) == die:
                os.kill(os.getpid(), signal.SIGKILL)
            return "enough" if die is None and os.environ["RANK"] == "1" else None
        return None

    return ask


if __name__ == "__main__":
    raise SystemExit(main())
