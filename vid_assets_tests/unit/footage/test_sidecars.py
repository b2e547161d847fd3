"""Captions beside footage: each layout, what counts where several do, and what is said of those that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from vid_assets.footage.listing import FoundFiles, list_sources
from vid_assets.footage.settings import SourceFolder
from vid_assets.footage.sidecars import Caption, caption_of


def write(folder: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Files with their text; None for footage, which is never read here."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content if isinstance(content, bytes) else ("footage" if content is None else content).encode()
        )


def listed(folder: Path, **options: tuple[str, ...]) -> FoundFiles:
    return list_sources([SourceFolder(uri=str(folder), **options)])


def captions(folder: Path, **options: tuple[str, ...]) -> dict[str, Caption]:
    files = listed(folder, **options)
    return {
        str(Path(file.uri).relative_to(folder)): caption_of(file.uri, [asdict(car) for car in file.sidecars])
        for file in files
    }


def jsonl(*records: object) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


@pytest.mark.parametrize(
    "files, caption, origin",
    [
        ({"a.txt": " a  cat\n"}, "a cat", "sidecar txt"),
        ({"a.TXT": "a cat"}, "a cat", "sidecar txt"),
        ({"a.txt": "\ufeffa cat"}, "a cat", "sidecar txt"),
        ({"a.json": '{"caption": "a cat", "fps": 24}'}, "a cat", "sidecar json"),
        ({"a.json": '{"text": "a cat"}'}, "a cat", "sidecar json"),
        ({"a.json": '{"prompt": "a cat", "caption": null}'}, "a cat", "sidecar json"),
        ({"metadata.jsonl": jsonl({"file_name": "a.mp4", "text": "a cat"})}, "a cat", "metadata.jsonl"),
        ({"metadata.csv": "file_name,text\nb.mp4,\na.mp4,a cat\n"}, "a cat", "metadata.csv"),
        ({"metadata.csv": 'width,caption,file_name\r\n1,"a\r\ncat",a.mp4\r\n'}, "a cat", "metadata.csv"),
        ({"videos.txt": "./b.mp4\na.mp4\n", "prompts.txt": "a dog\na cat\n"}, "a cat", "videos.txt"),
        ({"videos.txt": "a.mp4\n", "prompt.txt": "a cat"}, "a cat", "videos.txt"),
        ({}, None, "none"),
        ({"a.txt": " \n"}, None, "sidecar txt"),
        ({"a.json": '{"fps": 24}'}, None, "none in sidecar json"),
        ({"b.txt": "of another file"}, None, "none"),
        ({"metadata.jsonl": jsonl({"file_name": "a.mp4", "caption": None})}, None, "none in metadata.jsonl"),
    ],
)
def test_every_layout_gives_its_caption_and_its_origin(
    files: dict[str, str], caption: str | None, origin: str, tmp_path: Path
) -> None:
    write(tmp_path, {"a.mp4": None, "b.mp4": None} | files)
    found = captions(tmp_path)
    assert set(found) == {"a.mp4", "b.mp4"}, "no sidecar is footage"
    assert found["a.mp4"] == Caption(caption, origin)


def test_what_is_nearer_counts(tmp_path: Path) -> None:
    def everywhere(text: str, *names: str) -> str:
        return jsonl(*({"file_name": name, "caption": text} for name in names))

    write(tmp_path, {f"in/deep/{name}.mp4": None for name in "abc"})
    write(tmp_path, {
        "metadata.jsonl": everywhere("root", "in/deep/a.mp4", "in/deep/b.mp4", "in/deep/c.mp4"),
        "in/deep/metadata.csv": "file_name,caption\na.mp4,near\nb.mp4,near\nc.mp4,\n",
        "in/deep/a.txt": "beside",
    })  # fmt: skip
    found = {name[-5]: (caption.text, caption.origin) for name, caption in captions(tmp_path).items()}
    assert found == {"a": ("beside", "sidecar txt"), "b": ("near", "metadata.csv"), "c": ("root", "metadata.jsonl")}


def test_an_empty_text_says_that_there_is_no_caption(tmp_path: Path) -> None:
    write(tmp_path, {"a.mp4": None, "a.txt": "", "metadata.csv": "file_name,text\na.mp4,a cat\n"})
    assert captions(tmp_path)["a.mp4"] == Caption(None, "sidecar txt")


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.txt": "a cat", "a.json": '{"caption": "a dog"}'}, 'a.json says "a dog", *a.txt says "a cat"'),
        (
            {"metadata.jsonl": jsonl({"file_name": "a.mp4", "text": "1"}, {"file_name": "./a.mp4", "text": "2"})},
            'metadata.jsonl line 1 says "1", *metadata.jsonl line 2 says "2"',
        ),
        (
            {"metadata.csv": "file_name,text\na.mp4,1\n", "videos.txt": "a.mp4", "prompts.txt": "2"},
            'metadata.csv line 2 says "1", *videos.txt line 1 says "2"',
        ),
        ({"a.json": '{"caption": 3}'}, 'a.json: caption must be a text, not "3"'),
        ({"a.json": "{"}, "a.json: not valid JSON: *"),
        ({"a.json": "[]"}, "a.json: must hold a JSON object"),
        ({"a.txt": b"\xff\xfe"}, "a.txt: not UTF-8: invalid start byte at byte 0"),
        ({"metadata.jsonl": jsonl({"file_name": "a.mp4", "text": ["x"]})}, "metadata.jsonl line 1: text must be *"),
        ({"metadata.jsonl": b"\xff"}, "metadata.jsonl: not UTF-8: *"),
        ({"metadata.csv": "name,text\na.mp4,a cat\n"}, "metadata.csv: no column file_name; the columns are name, text"),
        ({"metadata.csv": "file_name,text\na.mp4,a cat, asleep\n"}, "metadata.csv line 2: 3 values in 2 columns; *"),
        ({"metadata.csv": 'file_name,text\na.mp4,"a "cat""\n'}, "metadata.csv line 2: not valid CSV, *"),
        ({"videos.txt": "a.mp4\n"}, "videos.txt: there must be one of prompts.txt and prompt.txt *, there are 0"),
        ({"prompts.txt": "a cat\n"}, "prompts.txt: there is no videos.txt beside it"),
        ({"videos.txt": "a.mp4\n", "prompts.txt": "a cat\na dog"}, "videos.txt: has 1 lines, but prompts.txt has 2"),
    ],
)  # fmt: skip
def test_a_conflict_or_a_bad_line_is_an_error_that_names_the_place(files: dict, message: str, tmp_path: Path) -> None:
    from fnmatch import fnmatch

    write(tmp_path, {"a.mp4": None} | files)
    found = captions(tmp_path)["a.mp4"]
    assert found.text is None
    assert found.error is not None and fnmatch(found.error.replace(f"{tmp_path}/", ""), f"*{message}")


def test_a_bad_line_concerns_only_files_without_a_line_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"a.mp4": None, "b.mp4": None, "c.mp4": None, "c.txt": "beside"})
    write(tmp_path, {"metadata.jsonl": '{"file_name": "a.mp4", "text": "a cat"}\n{"file_name": "b.mp4", "te\n'})
    found = captions(tmp_path)
    assert found["a.mp4"] == Caption("a cat", "metadata.jsonl")
    assert f"{tmp_path}/metadata.jsonl line 2: not valid JSON" in (found["b.mp4"].error or "")
    assert found["c.mp4"] == Caption("beside", "sidecar txt")


def versions(folder: Path) -> dict[str, list[tuple[int, str]]]:
    return {Path(file.uri).name: [(car.size_bytes, car.etag) for car in file.sidecars] for file in listed(folder)}


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "videos.txt"])
def test_a_changed_line_changes_the_version_of_its_file_alone(name: str, tmp_path: Path) -> None:
    def say(texts: dict[str, str]) -> None:
        if name == "metadata.jsonl":
            write(tmp_path, {name: jsonl(*({"file_name": one, "text": text} for one, text in texts.items()))})
        elif name == "metadata.csv":
            write(tmp_path, {name: "file_name,text\n" + "".join(f"{one},{text}\n" for one, text in texts.items())})
        else:
            write(tmp_path, {name: "\n".join(texts), "prompts.txt": "\n".join(texts.values())})

    write(tmp_path, {f"{one}.mp4": None for one in "abc"})
    say({"a.mp4": "one", "b.mp4": "two", "c.mp4": "three"})
    before = versions(tmp_path)
    say({"c.mp4": "three", "a.mp4": "one", "b.mp4": "another"})  # and in another order
    after = versions(tmp_path)
    assert {one for one in before if before[one] != after[one]} == {"b.mp4"}
    (tmp_path / "a.mp4").rename(tmp_path / "d.mp4")
    say({"b.mp4": "another", "c.mp4": "three", "d.mp4": "one"})
    assert versions(tmp_path)["d.mp4"] == after["a.mp4"], "a file that is renamed in both places"


def test_captions_of_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.mp4": None, "b.mp4": None})
    write(tmp_path, {"metadata.csv": "file_name,text\na,without its suffix\nb.mp4,fine\n"})
    assert listed(tmp_path).strays == {f"{tmp_path}/metadata.csv": [f"{tmp_path}/a"]}
    write(tmp_path, {"metadata.csv": "file_name,text\na.mp4,with it\nb.mp4,fine\n"})
    assert listed(tmp_path).strays == {}


def test_a_text_named_like_a_listing_is_the_sidecar_of_the_footage_of_that_name(tmp_path: Path) -> None:
    write(tmp_path, {"prompts.mp4": None, "prompts.txt": "a cat", "a.mp4": None})
    found = captions(tmp_path)
    assert (found["prompts.mp4"].text, found["a.mp4"]) == ("a cat", Caption(None, "none"))


def test_what_is_excluded_is_no_caption(tmp_path: Path) -> None:
    write(tmp_path, {"a.mp4": None, "metadata.csv": "made by,a camera\n"})
    assert captions(tmp_path)["a.mp4"].error
    assert captions(tmp_path, exclude=("**/metadata.csv",))["a.mp4"] == Caption(None, "none")
    assert captions(tmp_path, include=("**/*.mp4",))["a.mp4"].error, "include chooses footage"


def test_listings_in_an_object_store() -> None:
    import fsspec

    fs, folder = fsspec.filesystem("memory"), "/sidecars"
    fs.pipe({f"{folder}/x/a.mp4": b"", f"{folder}/metadata.jsonl": b'{"file_name": "x/a.mp4", "prompt": "a cat"}'})
    (file,) = list_sources([SourceFolder(uri=f"memory:/{folder}")])
    assert caption_of(file.uri, [asdict(car) for car in file.sidecars]) == Caption("a cat", "metadata.jsonl")
    fs.rm(folder, recursive=True)
