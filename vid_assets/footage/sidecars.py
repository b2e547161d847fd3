"""Captions that lie beside footage: which files hold them, how each is read, and which of them counts.

Beside a file, under its own stem or its whole name (`clip.txt`, `clip.mp4.txt`): `.txt` and `.caption` (the whole text)
and `.json` (an object with a caption). In its folder or in
an outer one, for many files: `metadata.jsonl` and `metadata.csv` (`file_name`, relative to that folder, and a
caption), and `videos.txt` with `prompts.txt` or `prompt.txt` (line by line). A caption is the first of `CAPTION_KEYS`.

What is nearest to the file counts: beside it, then in its folder, then in the folders around. Where two that are
equally near differ, and where one cannot be read, the file has no caption but an error that names file and line. A
text that is there and empty says that there is no caption. Names are the same whether their accents are composed or
not (NFC): a Mac writes them in the other form.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vid_assets.footage.identity import UNREADABLE, read_text

#: Suffixes of what belongs to the one file of the same stem.
BESIDE = (".txt", ".caption", ".json")
#: Names of what belongs to a folder; `videos.txt` is read with one of `PROMPTS`.
LISTINGS = ("metadata.jsonl", "metadata.csv", "videos.txt")
PROMPTS = ("prompts.txt", "prompt.txt")
#: Keys and columns that a caption may have; the first that is there and not null counts.
CAPTION_KEYS = ("caption", "text", "prompt")

#: What the version of a listing's sidecar begins with: it is of one file's entry, not of the whole listing.
_ENTRY = "entry:"


class SidecarError(ValueError):
    """A sidecar cannot be read as what it is; the message names the file and the line."""


@dataclass(frozen=True)
class ListingEntry:
    """What a listing says of one file: a caption, "" for explicitly none, None where it says nothing; or an error."""

    caption: str | None
    line: int
    error: str | None = None


@dataclass
class Listing:
    """A file with the captions of many, by their path; `problems` are lines that may be of any of them."""

    uri: str
    entries: dict[str, list[ListingEntry]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def about(self, path: str) -> list[ListingEntry]:
        """What concerns one file below the listing's folder: its entries; without any, what could not be read."""
        return self.entries.get(composed(path)) or [ListingEntry(None, 0, problem) for problem in self.problems[:3]]

    def version(self, path: str) -> str | None:
        """Changes when what the listing says of one file does, wherever it stands; None where it says nothing."""
        about = sorted({json.dumps([entry.caption, entry.error is not None]) for entry in self.about(path)})
        return _ENTRY + hashlib.sha256("\n".join(about).encode()).hexdigest()[:16] if about else None

    def size(self, path: str) -> int:
        """Bytes of the captions that it has for one file."""
        return sum(len((entry.caption or "").encode()) for entry in self.about(path))


@dataclass(frozen=True)
class Caption:
    """The caption of a file, None for none; where it came from; and why it could not be told."""

    text: str | None
    origin: str
    error: str | None = None


def composed(name: str) -> str:
    """A name as it is compared: with composed accents."""
    return unicodedata.normalize("NFC", name)


def path_of(uri: str) -> str:
    """A uri without its protocol."""
    return uri.rpartition("://")[2]


def listings_of(folder: str, names: Iterable[str], stems: Iterable[str]) -> list[str]:
    """The listings among the `names` of the files of a folder, in which footage has the stems `stems`.

    A lone `videos.txt` or `prompts.txt` is the sidecar of the footage of that stem where there is such footage.
    """
    here, taken = set(names), set(stems)
    found = [name for name in LISTINGS[:2] if name in here]
    halves = [name for name in ("videos.txt", *PROMPTS) if name in here]
    if "videos.txt" in halves and len(halves) > 1:
        halves = ["videos.txt"]
    else:
        halves = [name for name in halves if name.removesuffix(".txt") not in taken]
    return [posixpath.join(folder, name) for name in found + halves[:1]]


def read_listing(uri: str) -> Listing:
    """Read a listing. What cannot be read at all is a problem of every file below its folder. Raises OSError."""
    listing, name = Listing(uri), posixpath.basename(uri)
    try:
        text = read_text(uri)
        if name == "metadata.jsonl":
            records: Iterator[tuple[int, Any]] = _json_lines(text)
        elif name == "metadata.csv":
            records = _csv_lines(text)
        else:
            records = _pairs(uri, text)
        for line, record in records:
            _add(listing, line, record)
    except SidecarError as error:
        listing.problems.append(f"{uri}: {error}")
    except UnicodeDecodeError as error:
        listing.problems.append(f"{uri}: {_not_text(error)}")
    return listing


def caption_of(
    uri: str, sidecars: Sequence[Mapping[str, Any]], read: Callable[[str], Listing] = read_listing
) -> Caption:
    """The caption of the file `uri`, given the sidecars that its listing found. Raises nothing."""
    for level in _levels(sidecars):
        found: list[tuple[str, str, str]] = []  # caption, origin, place
        errors: list[str] = []
        for sidecar in level:
            for caption, origin, place, error in _told(uri, sidecar, read):
                if error:
                    errors.append(error)
                elif caption is not None:
                    found.append((caption, origin, place))
        origin = _origin(level[0]["uri"])
        if errors:
            return Caption(None, origin, "; ".join(errors))
        if len({caption for caption, _, _ in found}) > 1:
            places = ", ".join(f"{place} says {_short(caption)}" for caption, _, place in found)
            return Caption(None, origin, f"captions that differ: {places}")
        if found:
            return Caption(found[0][0] or None, found[0][1])
    silent = sorted({_origin(sidecar["uri"]) for sidecar in sidecars})
    return Caption(None, f"none in {', '.join(silent)}" if silent else "none")


def is_entry(sidecar: Mapping[str, Any]) -> bool:
    """Whether a sidecar is what a listing says of the file, not a text of its own."""
    return sidecar["etag"].startswith(_ENTRY)


def _levels(sidecars: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Sidecars that are equally near to their file together, the nearest first."""
    by_distance: dict[int, list[Mapping[str, Any]]] = {}
    for sidecar in sidecars:
        depth = posixpath.dirname(sidecar["uri"]).count("/") + 1 if is_entry(sidecar) else 0
        by_distance.setdefault(-depth, []).append(sidecar)
    beside = by_distance.pop(0, [])
    return ([beside] if beside else []) + [by_distance[depth] for depth in sorted(by_distance)]


def _told(
    uri: str, sidecar: Mapping[str, Any], read: Callable[[str], Listing]
) -> list[tuple[str | None, str, str, str | None]]:
    """What a sidecar says of a file: caption, origin, place, error."""
    place = sidecar["uri"]
    origin = _origin(place)
    try:
        if is_entry(sidecar):
            about = read(place).about(path_of(uri))
            return [(one.caption, origin, f"{place} line {one.line}", one.error) for one in about]
        text = read_text(place)
        return [(_of_object(text) if place.lower().endswith(".json") else _plain(text), origin, place, None)]
    except UnicodeDecodeError as error:
        return [(None, origin, place, f"{place}: {_not_text(error)}")]
    except SidecarError as error:
        return [(None, origin, place, f"{place}: {error}")]
    except OSError as error:
        return [(None, origin, place, f"{place}: {UNREADABLE}: {error}")]


def _not_text(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: {error.reason} at byte {error.start}"


def _origin(uri: str) -> str:
    name = posixpath.basename(uri)
    return name if name in (*LISTINGS, *PROMPTS) else f"sidecar {name.rpartition('.')[2].lower()}"


def _plain(text: str) -> str:
    """A caption is one line: white space of any kind and number is one blank."""
    return " ".join(text.split())


def _short(text: str) -> str:
    return json.dumps(text if len(text) <= 40 else text[:37] + "...", ensure_ascii=False)


def _value(record: Mapping[str, Any]) -> str | None:
    """The caption of an object. Raises `SidecarError` where it is no text."""
    for key in CAPTION_KEYS:
        value = record.get(key)
        if isinstance(value, str):
            return _plain(value)
        if value is not None:
            raise SidecarError(f"{key} must be a text, not {_short(json.dumps(value))}")
    return None


def _of_object(text: str) -> str | None:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise SidecarError(f"not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise SidecarError("must hold a JSON object")
    return _value(record)


def _add(listing: Listing, line: int, record: Any) -> None:
    """Take a record of a listing: an object with `file_name`, or a `SidecarError`."""
    where = f"{listing.uri} line {line}: "
    if isinstance(record, SidecarError):
        listing.problems.append(f"{where}{record}")
        return
    name = record.get("file_name")
    if not isinstance(name, str) or not name.strip():
        listing.problems.append(f"{where}no file_name")
        return
    path = posixpath.normpath(posixpath.join(posixpath.dirname(path_of(listing.uri)), path_of(name.strip())))
    try:
        entry = ListingEntry(_value(record), line)
    except SidecarError as error:
        entry = ListingEntry(None, line, f"{where}{error}")
    listing.entries.setdefault(composed(path), []).append(entry)


def _lines(text: str) -> list[str]:
    """The lines of a file; other characters that divide lines of text may stand within one."""
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            yield number, SidecarError(f"not valid JSON: {error}")
            continue
        yield number, record if isinstance(record, dict) else SidecarError("not a JSON object")


def _csv_lines(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if "file_name" not in header:
            raise SidecarError(f"no column file_name; the columns are {', '.join(header) or 'none'}")
        for row in reader:
            if not row:
                continue
            if len(row) == len(header):
                yield reader.line_num, {column: value or None for column, value in zip(header, row)}
            else:
                count = f"{len(row)} values in {len(header)} columns"
                yield reader.line_num, SidecarError(f"{count}; a text with a comma needs quotes")
    except csv.Error as error:
        yield reader.line_num, SidecarError(f"not valid CSV, nor is what follows: {error}")


def _pairs(uri: str, text: str) -> Iterator[tuple[int, Any]]:
    """The lines of `videos.txt` (or what there is of the pair), each with that of its prompts."""
    folder, name = posixpath.split(uri)
    if name != "videos.txt":
        raise SidecarError("there is no videos.txt beside it")
    prompts = {}
    for other in PROMPTS:
        try:
            prompts[other] = _lines(read_text(f"{folder}/{other}"))
        except FileNotFoundError:
            continue
    if len(prompts) != 1:
        raise SidecarError(f"there must be one of {' and '.join(PROMPTS)} beside it, there are {len(prompts)}")
    ((other, captions),) = prompts.items()
    videos = _lines(text)
    for longer, shorter in ((videos, captions), (captions, videos)):
        while len(longer) > len(shorter) and not longer[-1].strip():
            longer.pop()
    if len(captions) != len(videos):
        raise SidecarError(f"has {len(videos)} lines, but {other} has {len(captions)}")
    for number, (video, caption) in enumerate(zip(videos, captions), 1):
        if video.strip() or caption.strip():
            yield number, {"file_name": video, "caption": caption}
