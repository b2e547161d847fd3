"""Listing the sources: what is footage, what belongs to it, and what a listing that fails is."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from vid_assets.footage.listing import ListingError, list_sources
from vid_assets.footage.settings import SourceFolder


def make(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def names(folder: Path, **options) -> list[str]:
    found = list_sources([SourceFolder(uri=str(folder), **options)])
    return [str(Path(file.uri).relative_to(folder)) for file in found]


def test_files_are_listed_in_order_with_their_sizes(tmp_path):
    make(tmp_path, "b.mp4", "a/z.mov", "no_suffix")
    make(tmp_path, "c.png", text="12345")
    found = list_sources([SourceFolder(uri=str(tmp_path))])
    assert [file.uri for file in found] == sorted(
        str(tmp_path / name) for name in ("b.mp4", "a/z.mov", "no_suffix", "c.png")
    )
    assert {Path(file.uri).name: file.size_bytes for file in found} == {
        "b.mp4": 1,
        "z.mov": 1,
        "no_suffix": 1,
        "c.png": 5,
    }


def test_what_is_no_file_is_no_footage(tmp_path):
    """To open a pipe would wait for ever for somebody to write into it."""
    make(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    assert names(tmp_path) == ["a.mp4", "broken.mp4", "link.mp4"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_a_name_that_is_no_text_is_refused_in_words_unless_it_is_excluded(tmp_path):
    make(tmp_path, "a.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"x")
    with pytest.raises(ListingError, match=r"caf\\xe9\.mp4.*not UTF-8.*[Rr]ename"):
        names(tmp_path)
    assert names(tmp_path, exclude=("caf*",)) == ["a.mp4"]


def test_an_empty_folder_is_an_empty_source(tmp_path):
    assert names(tmp_path) == []


def test_zero_byte_files_are_listed(tmp_path):
    make(tmp_path, "a.mp4", "b.mp4", text="")
    assert [file.size_bytes for file in list_sources([SourceFolder(uri=str(tmp_path))])] == [0, 0]


def test_sidecars_belong_to_the_file_of_their_stem_and_are_no_footage(tmp_path):
    make(tmp_path, "one.mp4", "one.txt", "two.mp4", "lonely.txt", "a/one.mov", "b.c.mp4", "b.c.txt", "bare", "bare.txt")
    make(tmp_path, "upper.MP4", "upper.txt")
    found = {str(Path(f.uri).relative_to(tmp_path)): f for f in list_sources([SourceFolder(uri=str(tmp_path))])}
    beside = {name: [Path(car.uri).name for car in file.sidecars] for name, file in found.items()}
    assert beside == {
        "one.mp4": ["one.txt"], "two.mp4": [], "a/one.mov": [], "b.c.mp4": ["b.c.txt"], "bare": ["bare.txt"],
        "upper.MP4": ["upper.txt"],
    }  # fmt: skip


def test_two_files_of_one_stem_share_the_sidecar(tmp_path):
    make(tmp_path, "one.mp4", "one.png", "one.txt")
    assert [len(file.sidecars) for file in list_sources([SourceFolder(uri=str(tmp_path))])] == [1, 1]


def test_a_changed_sidecar_changes_its_version_and_not_that_of_the_file(tmp_path):
    make(tmp_path, "one.mp4", "one.txt")
    (before,) = list_sources([SourceFolder(uri=str(tmp_path))])
    make(tmp_path, "one.txt", text="other words")
    os.utime(tmp_path / "one.txt", ns=(1, 1))
    (after,) = list_sources([SourceFolder(uri=str(tmp_path))])
    assert (after.size_bytes, after.etag) == (before.size_bytes, before.etag)
    assert after.sidecars != before.sidecars


def test_a_file_of_equal_size_written_anew_has_another_version(tmp_path):
    make(tmp_path, "one.mp4")
    (before,) = list_sources([SourceFolder(uri=str(tmp_path))])
    os.utime(tmp_path / "one.mp4", ns=(5, 5))
    (after,) = list_sources([SourceFolder(uri=str(tmp_path))])
    assert after.size_bytes == before.size_bytes
    assert after.etag != before.etag


def test_hidden_files_and_documents_are_no_footage(tmp_path):
    make(
        tmp_path, "a.mp4", ".hidden.mp4", ".git/b.mp4", "sub/.cache/c.mp4", "README.md", "labels.json", "d.csv", "e.tmp"
    )
    make(tmp_path, "copying.mp4.part", "subtitles.SRT")
    assert names(tmp_path) == ["a.mp4"]


def test_a_source_inside_a_hidden_folder_is_listed(tmp_path):
    make(tmp_path / ".data", "a.mp4")
    assert names(tmp_path / ".data") == ["a.mp4"]


def test_include_and_exclude(tmp_path):
    make(tmp_path, "a.mp4", "sub/b.mp4", "sub/deep/c.mov", "raw/d.mp4")
    assert names(tmp_path, include=["**/*.mp4"]) == ["a.mp4", "raw/d.mp4", "sub/b.mp4"]
    assert names(tmp_path, exclude=["raw/*"]) == ["a.mp4", "sub/b.mp4", "sub/deep/c.mov"]
    assert names(tmp_path, include=["sub/**/*"], exclude=["**/*.mov"]) == ["sub/b.mp4"]


def test_overlapping_sources_list_a_file_once(tmp_path):
    make(tmp_path, "a.mp4", "sub/b.mp4")
    overlapping = [
        SourceFolder(uri=str(tmp_path)),
        SourceFolder(uri=str(tmp_path / "sub")),
        SourceFolder(uri=str(tmp_path) + "/"),
    ]
    assert [Path(file.uri).name for file in list_sources(overlapping)] == ["a.mp4", "b.mp4"]


def test_names_with_spaces_quotes_and_letters_of_any_language(tmp_path):
    listed = ["a b.mp4", "it's.mp4", "Straße.mp4", "映画.mp4", "50%.mp4"]
    make(tmp_path, *listed)
    assert names(tmp_path) == sorted(listed)


def test_another_file_system_gives_uris_with_its_protocol():
    fs, folder = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    fs.pipe_file(f"{folder}/a.mp4", b"12")
    fs.pipe_file(f"{folder}/a.txt", b"words")
    (file,) = list_sources([SourceFolder(uri=f"memory:/{folder}")])
    assert file.uri.startswith("memory://")
    assert file.uri.endswith("a.mp4")
    assert file.size_bytes == 2
    with fsspec.open(file.sidecars[0].uri) as sidecar:
        assert sidecar.read() == b"words"


def test_a_missing_folder_is_an_error_not_an_empty_source(tmp_path):
    make(tmp_path, "here/a.mp4")
    missing = tmp_path / "gone"
    with pytest.raises(ListingError, match=f"source {missing}: no such folder"):
        list_sources([SourceFolder(uri=str(tmp_path / "here")), SourceFolder(uri=str(missing))])


def test_a_file_is_no_folder(tmp_path):
    make(tmp_path, "a.mp4")
    with pytest.raises(ListingError, match="no such folder"):
        list_sources([SourceFolder(uri=str(tmp_path / "a.mp4"))])


def test_an_unknown_protocol_says_which_source(tmp_path):
    with pytest.raises(ListingError, match=r"source nonsense://bucket: it cannot be listed"):
        list_sources([SourceFolder(uri="nonsense://bucket")])


def test_a_listing_that_fails_in_the_middle_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4")

    def broken(self, path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "ls", broken)
    with pytest.raises(ListingError, match=r"cannot be listed: .*Permission denied.*Nothing was changed"):
        list_sources([SourceFolder(uri=str(tmp_path))])


def test_a_folder_below_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4", "locked/b.mp4")
    listed = LocalFileSystem.ls

    def locked(self, path, *arguments, **options):
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listed(self, path, *arguments, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", locked)
    with pytest.raises(ListingError, match=r"cannot be listed: .*Permission denied.*locked"):
        list_sources([SourceFolder(uri=str(tmp_path))])
    assert names(tmp_path, exclude=["locked/*"]) == ["a.mp4"], "what is excluded need not be readable"


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path, "store/a.mp4", "footage/b.mp4")
    (tmp_path / "footage" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "footage" / "link.mp4").symlink_to(tmp_path / "store" / "a.mp4")
    (tmp_path / "store" / "circle").symlink_to(tmp_path / "store")
    assert names(tmp_path / "footage") == ["b.mp4", "link.mp4", "more/a.mp4"]
