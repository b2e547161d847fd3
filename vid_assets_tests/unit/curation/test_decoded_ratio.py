"""How much of a source decodes, by what is stored of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vid_assets.curation.groups import GroupStats
from vid_assets.curation.metrics.integrity import decoded_ratio


def ratio(frames: int, packets: int, errors: int = 0, discarded: int = 0, **header: Any) -> float | None:
    video = {"kind": "video", "claimed_frames": None, "duration_s": None, "fps": 25.0} | header
    times = [number / 25 for number in range(frames)]
    proof = GroupStats("proof", "2", times, decoded_ratio=0.5, packet_errors=errors)
    counts = {"packets": packets, "discarded": discarded, "untimed": 0, "misplaced": 0}
    counted = GroupStats("packets", "1", [0.0], {name: [float(value)] for name, value in counts.items()})
    source = SimpleNamespace(video=video, groups={"proof": proof, "packets": counted})
    return decoded_ratio(SimpleNamespace(source=source))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ratio(31, 62), 1.0),  # fields that are coded apart
        (ratio(72, 80), 1.0),  # hidden packets
        (ratio(90, 100, errors=10), 0.9),
        (ratio(49, 50, claimed_frames=50), 49 / 50),
        (ratio(87, 100, discarded=13, claimed_frames=100), 1.0),  # an edit list
        (ratio(60, 60, claimed_frames=8), 1.0),  # fragments that the header does not count
        (ratio(25, 25, duration_s=10.0), 0.1),  # cut off
        (ratio(1, 1, duration_s=9.1), 0.04 / 9.1),  # one frame of a long film
        (ratio(1, 1, duration_s=0.04), 1.0),
        (ratio(0, 5, errors=5), 0.5),  # none: as it was proved
    ],
)
def test_what_is_missing_is_what_a_decoder_refused_or_the_header_claims(found, expected):
    assert found == pytest.approx(expected)
