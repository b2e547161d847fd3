"""Tables and pictures in Markdown, as the web UI shows them in metadata. Draws nothing, and imports nothing heavy."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

#: Bytes that a picture in the web UI may have.
LIMIT = 150_000


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with the columns `head`."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def as_markdown(image: bytes, alt: str = "") -> str:
    """The image as Markdown with a data URI, which the web UI shows without a server for files."""
    kind = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"GI": "gif", b"RI": "webp"}.get(image[:2])
    if kind is None:
        raise ValueError("not a PNG, JPEG, GIF or WebP image")
    words = " ".join(alt.replace("[", "(").replace("]", ")").split())
    return f"![{words}](data:image/{kind};base64,{base64.b64encode(image).decode()})"
