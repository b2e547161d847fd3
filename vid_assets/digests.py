"""Text and hashes that are equal for equal values: what every key and fingerprint is made of."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Digits of a hash or an id that people are shown.
SHOWN = 12


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
