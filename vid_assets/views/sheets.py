"""Contact sheets.

Pictures come as uint8 RGB arrays (H, W, 3) or as encoded bytes (JPEG, PNG, WebP); results are JPEG bytes that keep
below `limit` bytes, because the web UI stores them in its event log. To fit, quality and then scale go down; what
still does not fit is left out and counted on the sheet ("+N more").
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vid_assets.views.markdown import LIMIT

TilePicture = bytes | np.ndarray | None
Tile = tuple[TilePicture, Sequence[str]]


_PAPER, _INK, _FAINT, _EMPTY = (250, 250, 248), (32, 34, 38), (112, 116, 122), (214, 214, 210)
_MARKS = {"✓": (22, 122, 62), "✗": (184, 40, 34)}
_GAP, _FONT_SIZE = 10, 13
_QUALITIES, _SCALES = (88, 78, 66, 54), (1.0, 0.8, 0.65, 0.5)


def contact_sheet(
    tiles: Sequence[Tile],
    columns: int = 4,
    title: str = "",
    *,
    tile_width: int = 220,
    most: int = 40,
    limit: int = LIMIT,
) -> bytes:
    """A grid of pictures with lines of text below each, as JPEG bytes.

    A tile is (picture, lines); a picture of None (nothing could be decoded) is shown as such. Lines too long for the
    tile are shortened by "…"; a line that starts with ✓ is green, with ✗ red. At most `most` tiles are shown and the
    rest counted. Raises `ValueError` for no columns, for bytes that are no image, and when not even one tile fits
    into `limit` bytes.
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    pictures = [_open(picture, f"tile {number}") for number, (picture, _) in enumerate(tiles[:most])]
    lines = [list(text) for _, text in tiles[:most]]
    shown = len(pictures)
    while True:
        more = len(tiles) - shown
        for scale in _SCALES:
            sheet = _grid(pictures[:shown], lines[:shown], columns, title, round(tile_width * scale), more)
            data = _within(sheet, limit)
            if data is not None:
                return data
        if shown <= 1:
            raise ValueError(f"a contact sheet of one tile needs more than {limit} bytes")
        shown = shown * 2 // 3


@dataclass(frozen=True)
class Panel:
    """A part of a sheet: its title, the tiles to show first, and how many there are in all."""

    title: str
    tiles: Sequence[Tile]
    total: int


def panel_sheet(
    panels: Sequence[Panel],
    columns: int = 6,
    title: str = "",
    *,
    tile_width: int = 180,
    rows: int = 1,
    limit: int = LIMIT,
) -> bytes:
    """Panels, small ones side by side, as JPEG bytes; each is a grid of at most `rows` rows of tiles.

    To fit, pictures get smaller, then fewer in each panel, and then the last panels are left out; the rest is
    counted. Raises `ValueError` when not even one tile fits into `limit` bytes.
    """
    if not panels:
        return contact_sheet([], columns, title, limit=limit)
    count = len(panels)
    while count:
        left_out = f", {count} of {len(panels)} panels" if count < len(panels) else ""
        data = _panels(panels[:count], columns, title + left_out, tile_width, rows, limit)
        if data is not None:
            return data
        count = count // 2
    raise ValueError(f"a sheet of one tile needs more than {limit} bytes")


def _panels(panels: Sequence[Panel], columns: int, title: str, tile_width: int, rows: int, limit: int) -> bytes | None:
    """All of `panels`, as large as they may be; None where they do not fit."""
    opened = [[_open(picture, one.title) for picture, _ in one.tiles[: rows * columns]] for one in panels]
    lines = [[list(text) for _, text in one.tiles[: rows * columns]] for one in panels]

    def drawn(across: int, scale: float) -> Image.Image:
        width = round(tile_width * scale)
        parts = []
        for panel, pictures, texts in zip(panels, opened, lines):
            shown = min(rows * across, len(pictures))
            more = panel.total - shown
            parts.append(_grid(pictures[:shown], texts[:shown], across, panel.title, width, more))
        return _flowed(parts, title, across * (width + _GAP) + _GAP)

    counts = [columns, *(few for few in (4, 3) if few < columns)]
    if len(_jpeg(drawn(counts[-1], _SCALES[-1]), _QUALITIES[-1])) > limit:
        return None  # the smallest is too large, so the others need not be drawn
    for across in counts:
        for scale in _SCALES:
            data = _within(drawn(across, scale), limit)
            if data is not None:
                return data
    return None


def _flowed(parts: Sequence[Image.Image], title: str, width: int) -> Image.Image:
    """The parts from left to right, in as many rows as a sheet of at least `width` pixels needs."""
    width = max([width, *(part.width for part in parts)])
    rows: list[list[Image.Image]] = [[]]
    for part in parts:
        if sum(one.width for one in rows[-1]) + part.width > width:
            rows.append([])
        rows[-1].append(part)
    head = 34 if title else 0
    sheet = Image.new("RGB", (width, head + sum(max(one.height for one in row) for row in rows)), _PAPER)
    if title:
        _write(ImageDraw.Draw(sheet), (_GAP, _GAP), title, sheet.width - 2 * _GAP, _INK, 19)
    top = head
    for row in rows:
        left = 0
        for part in row:
            sheet.paste(part, (left, top))
            left += part.width
        top += max(one.height for one in row)
    return sheet


def _open(picture: TilePicture, name: str) -> Image.Image | None:
    if picture is None:
        return None
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"{name}: must be uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        return Image.fromarray(np.ascontiguousarray(picture))
    try:
        return Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError as error:
        raise ValueError(f"{name}: not an image: {error}") from None


def _grid(
    pictures: Sequence[Image.Image | None],
    lines: Sequence[Sequence[str]],
    columns: int,
    title: str,
    width: int,
    more: int,
) -> Image.Image:
    columns = max(min(columns, len(pictures)), 1)
    # Portrait pictures would make the sheet very long: no picture is higher than its tile is wide.
    shapes = [(3, 4) if one is None else (one.height, one.width) for one in pictures]
    height = min(max((round(width * high / wide) for high, wide in shapes), default=0), width)
    text_height = max((len(text) for text in lines), default=0) * (_FONT_SIZE + 4)
    cell_width, cell_height = width + _GAP, height + text_height + (6 if text_height else 0) + _GAP
    rows = -(-len(pictures) // columns)
    head = 32 if title else 0
    foot = _FONT_SIZE + 12 if more or not pictures else 0
    wide = max(columns * cell_width + _GAP, math.ceil(_font(17).getlength(title)) + 2 * _GAP if title else 0)
    sheet = Image.new("RGB", (wide, head + rows * cell_height + _GAP + foot), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (_GAP, _GAP), title, sheet.width - 2 * _GAP, _INK, 17)
    for number, (picture, text) in enumerate(zip(pictures, lines)):
        left = _GAP + number % columns * cell_width
        top = head + _GAP + number // columns * cell_height
        if picture is None:
            draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_EMPTY)
            _write(draw, (left + 8, top + height // 2 - 8), "no picture", width - 16, _FAINT)
        else:
            scale = min(width / picture.width, height / picture.height)
            size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
            place = (left + (width - size[0]) // 2, top + (height - size[1]) // 2)
            sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), place)
        for row, line in enumerate(text):
            colour = _MARKS.get(line[:1], _INK if row == 0 else _FAINT)
            _write(draw, (left, top + height + 5 + row * (_FONT_SIZE + 4)), line, width, colour)
    if foot:
        note = f"+{more} more" if more else "nothing to show"
        _write(draw, (_GAP, sheet.height - foot), note, sheet.width - 2 * _GAP, _FAINT)
    return sheet


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    colour: tuple[int, int, int],
    size: int = _FONT_SIZE,
) -> None:
    """One line of text, shortened to `width` pixels."""
    font, text = _font(size), " ".join(text.split())
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "…", font) > width:
            text = text[:-1]
        text += "…"
    draw.text(at, text, colour, font)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which comes with matplotlib and knows far more scripts than Pillow's own font."""
    matplotlib = find_spec("matplotlib")
    assert matplotlib is not None and matplotlib.origin is not None
    return ImageFont.truetype(str(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"), size)


def _within(image: Image.Image, limit: int) -> bytes | None:
    """The image as JPEG in the best quality that keeps the limit; None where none does."""
    smallest = _jpeg(image, _QUALITIES[-1])
    if len(smallest) > limit:
        return None
    for quality in _QUALITIES[:-1]:
        data = _jpeg(image, quality)
        if len(data) <= limit:
            return data
    return smallest


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
