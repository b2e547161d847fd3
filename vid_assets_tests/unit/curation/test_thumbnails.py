import itertools

import cv2
import numpy as np
import pytest

from vid_assets.curation.measures.looks import MAX_THUMBNAILS, Thumbnails
from vid_assets.curation.picture import StillPicture
from vid_assets_tests.unit.footage.rendering import texture


def taken(pictures, rate):
    """The thumbnails of pictures at a rate, as (time, luma of the decoded JPEG)."""
    measure = Thumbnails()
    for number, image in enumerate(pictures):
        picture = StillPicture(image)
        picture.time_s = number / rate
        measure.add(picture)
    assert measure.timestamps == [time_s for time_s, _ in measure.thumbnails]
    return [(time_s, cv2.imdecode(np.frombuffer(data, np.uint8), 0).mean()) for time_s, data in measure.thumbnails]


def test_every_shot_is_shown_even_a_short_one():
    lengths = (60, 20, 100, 24)
    images = [texture(seed, 90, 160) // (1 + seed % 2) for seed in range(4)]
    found = taken([image for image, length in zip(images, lengths) for _ in range(length)], rate=24)
    ends = np.cumsum(lengths) / 24
    for start, end, image in zip([0, *ends], ends, images):
        lumas = [luma for time_s, luma in found if start <= time_s < end]
        assert lumas and lumas[0] == pytest.approx(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean(), abs=3)


def test_a_still_scene_is_shown_every_two_seconds():
    assert [time_s for time_s, _ in taken([texture(1, 90, 160)] * 240, rate=24)] == pytest.approx([0, 2, 4, 6, 8])


def test_a_long_source_is_shown_evenly_by_a_bounded_number():
    images = [texture(seed, 18, 32) for seed in range(2)]
    found = [time_s for time_s, _ in taken([images[number // 3 % 2] for number in range(3000)], rate=2)]
    assert MAX_THUMBNAILS // 2 <= len(found) <= MAX_THUMBNAILS
    assert found[0] == 0 and found[-1] > 1450
    assert max(b - a for a, b in itertools.pairwise(found)) <= 16
