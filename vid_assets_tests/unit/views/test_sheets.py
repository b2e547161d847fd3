"""Contact sheets and their Markdown."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from vid_assets.views.markdown import LIMIT, as_markdown
from vid_assets.views.sheets import Panel, contact_sheet, panel_sheet


def _picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _plain(colour, size=(90, 120)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def _share(image: Image.Image, colour, tolerance=40) -> float:
    distance = np.abs(np.asarray(image).astype(int) - np.array(colour)).max(axis=2)
    return float((distance < tolerance).mean())


def test_every_tile_is_on_the_sheet_whatever_its_form():
    buffer = io.BytesIO()
    Image.fromarray(_plain((20, 20, 220))).save(buffer, "JPEG")
    sheet = _picture(contact_sheet([(_plain((220, 20, 20)), ["one"]), (buffer.getvalue(), ["two"]), (None, ["three"])]))
    assert _share(sheet, (220, 20, 20)) > 0.15
    assert _share(sheet, (20, 20, 220)) > 0.15
    assert _share(sheet, (214, 214, 210), 6) > 0.15


def test_tiles_go_into_rows_of_the_asked_width():
    tiles = [(_plain((0, 90, 0)), ["a"])] * 6
    wide, narrow = _picture(contact_sheet(tiles, columns=6)), _picture(contact_sheet(tiles, columns=2))
    assert wide.width > narrow.width * 2
    assert narrow.height > wide.height * 2


def test_a_title_and_text_take_room_and_long_lines_do_not_widen_the_sheet():
    plain = _picture(contact_sheet([(_plain(9), [])]))
    titled = _picture(contact_sheet([(_plain(9), ["word " * 100])], title="A title"))
    assert titled.width == plain.width
    assert titled.height > plain.height + 30


def test_portrait_pictures_do_not_make_the_sheet_long():
    sheet = _picture(contact_sheet([(_plain(9, (400, 100)), [])], tile_width=200))
    assert sheet.height < 240


def test_marks_are_coloured():
    sheet = _picture(contact_sheet([(_plain(128), ["✓ kept"]), (_plain(128), ["✗ sharpness"])]))
    pixels = np.asarray(sheet).astype(int)
    assert ((pixels[..., 1] - pixels[..., 0]) > 60).any()
    assert ((pixels[..., 0] - pixels[..., 1]) > 80).any()


def test_a_sheet_stays_below_its_limit_and_counts_what_is_left_out():
    noisy = [(np.random.default_rng(i).integers(0, 255, (180, 240, 3), np.uint8), [f"tile {i}"]) for i in range(30)]
    data = contact_sheet(noisy, columns=5, limit=60_000)
    assert len(data) <= 60_000
    assert len(contact_sheet(noisy, columns=5, limit=150_000)) > len(data)
    # Left-out tiles are counted below the others: the sheet of 4 out of 30 has a line more than that of 4.
    assert _picture(contact_sheet(noisy, most=4)).height > _picture(contact_sheet(noisy[:4])).height


def test_a_limit_that_cannot_be_kept_is_an_error_not_an_empty_sheet():
    with pytest.raises(ValueError, match="more than 500 bytes"):
        contact_sheet([(_plain(9), [])], limit=500)


def test_a_sheet_of_more_sections_than_fit_shows_the_first_of_them():
    """A batch may fail by every rule there is: that is no error of the sheet's."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    panels = [Panel(f"rule {n}", [(noise, [f"✗ rule {n}"] * 20)] * 6, 6) for n in range(40)]
    few, many = panel_sheet(panels[:2], 6, "rejected"), panel_sheet(panels, 6, "rejected")
    assert len(many) <= LIMIT
    assert _picture(many).height > 2 * _picture(few).height
    with pytest.raises(ValueError, match="one tile needs more than 2000 bytes"):
        panel_sheet(panels, 6, limit=2000)


def test_no_tiles_give_a_sheet_that_says_so():
    assert _picture(contact_sheet([], title="Rejected clips")).height > 40


def test_what_is_no_picture_is_refused_with_its_number():
    with pytest.raises(ValueError, match="tile 1: not an image"):
        contact_sheet([(_plain(9), []), (b"not a picture", [])])
    with pytest.raises(ValueError, match="tile 0: must be uint8"):
        contact_sheet([(np.zeros((4, 4, 3)), [])])


def test_markdown_holds_the_same_bytes():
    data = contact_sheet([(_plain(9), [])])
    text = as_markdown(data, "kept [b0]\nclips")
    match = re.fullmatch(r"!\[kept \(b0\) clips\]\(data:image/jpeg;base64,([^)]+)\)", text)
    assert match and base64.b64decode(match[1]) == data
    with pytest.raises(ValueError, match="not a PNG"):
        as_markdown(b"text")
