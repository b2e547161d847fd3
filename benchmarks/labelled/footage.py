"""Real footage, where it lies, and what people labelled in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOOTAGE = Path(os.environ.get("VID_ASSETS_FOOTAGE", Path(__file__).parents[3] / "shared" / "footage")).resolve()


def labels() -> dict[str, Any]:
    """File name below `FOOTAGE` -> its labels; nothing where there is no footage."""
    return json.loads((FOOTAGE / "labels.json").read_text()) if FOOTAGE.is_dir() else {}
