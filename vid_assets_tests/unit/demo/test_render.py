"""Rendering the demo footage: what lies in the folder is what its labels say, and a second call does nothing."""

import hashlib
import itertools
import json
import os

import av
import numpy as np
import pytest
from PIL import Image

from vid_assets.demo import catalogue, encode, render, scenes
from vid_assets.demo.catalogue import Entry, Label


@pytest.fixture
def small(monkeypatch):
    """A catalogue of five small files, which renders in a moment."""

    def video(name: str) -> Entry:
        def write(path):
            encode.write_video(path, scenes.orbits(1, (96, 64), 6), codec="vp9" if name.endswith("webm") else "h264")

        return Entry(Label(name, "video", "planets", True, 96, 64, 6, 24, caption="planets turn", cuts=(3,)), write)

    def still(path):
        encode.write_still(path, next(scenes.gears(1, (96, 64), 1)))

    copy = Label("e.mp4", "video", "", True, 96, 64, 6, 24, duplicate_of="a.mp4", duplicate_kind="exact")
    files = [
        *(video(name) for name in ("a.mp4", "b.mkv", "c.webm")),
        Entry(Label("d.png", "image", "", True, 96, 64, 1, None), still),
        Entry(copy, None),
    ]
    monkeypatch.setattr(render, "entries", lambda: files)
    return files


def _state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_labels_describe_the_files_in_the_folder(small, tmp_path):
    labels = render.render(tmp_path / "footage")
    assert json.loads((tmp_path / "footage/labels.json").read_text())["files"] == labels
    assert [label["file"] for label in labels] == ["a.mp4", "b.mkv", "c.webm", "d.png", "e.mp4"]
    for label in labels:
        data = (tmp_path / "footage" / label["file"]).read_bytes()
        assert (label["bytes"], label["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert labels[0]["cuts"] == [3]
    assert labels[4]["sha256"] == labels[0]["sha256"]
    assert (tmp_path / "footage/a.txt").read_text() == "planets turn\n"
    assert not (tmp_path / "footage/d.txt").exists()
    assert os.listdir(tmp_path) == ["footage"]  # nothing of the rendering is left beside it


def test_a_second_call_touches_nothing(small, tmp_path):
    first = render.render(tmp_path)
    before = _state(tmp_path)
    assert render.render(tmp_path) == first
    assert _state(tmp_path) == before


def test_only_what_is_missing_or_changed_is_rendered_again(small, tmp_path):
    render.render(tmp_path)
    before = _state(tmp_path)
    (tmp_path / "a.mp4").unlink()
    (tmp_path / "d.png").write_bytes(b"something else")
    (tmp_path / "mine.mp4").write_bytes(b"a file of the user")
    render.render(tmp_path)
    after = _state(tmp_path)
    assert {name: data for name, (data, _) in after.items() if name != "mine.mp4"} == {
        name: data for name, (data, _) in before.items()
    }
    assert {name for name in before if after[name][1] != before[name][1]} == {"a.mp4", "d.png"}
    assert after["mine.mp4"][0] == b"a file of the user"


def test_another_version_renders_everything_again(small, tmp_path, monkeypatch):
    render.render(tmp_path)
    before = _state(tmp_path)
    monkeypatch.setattr(render, "VERSION", render.VERSION + 1)
    render.render(tmp_path)
    after = _state(tmp_path)
    assert all(after[name][1] != before[name][1] for name in ("a.mp4", "b.mkv", "labels.json"))


def test_equal_frames_give_equal_bytes(tmp_path):
    """x264 gave other bytes each time for sizes such as 480x360, because of its macroblock tree."""
    for suffix, codec in ((".mp4", "h264"), (".mkv", "h264"), (".webm", "vp9")):
        hashes = set()
        for number in range(4):
            path = tmp_path / f"{number}{suffix}"
            encode.write_video(path, scenes.aerial(1, (480, 360), 24), codec=codec)
            hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
        assert len(hashes) == 1, (suffix, codec)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mkv", "h264"), ("a.mp4", "hevc"), ("a.webm", "vp9")],
)
def test_a_written_video_reads_back(tmp_path, name, codec):
    frames = list(scenes.moving_shapes(1, (128, 96), 10))
    assert encode.write_video(tmp_path / name, frames, fps=12, codec=codec, crf=12) == 10
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name.replace("libvpx-", ""), stream.average_rate) == (codec, 12)
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(read) == 10
    assert np.abs(np.stack(read).astype(int) - np.stack(frames)).mean() < 8


def test_a_video_that_cannot_be_written_says_why(tmp_path):
    with pytest.raises(ValueError, match="even width and height"):
        encode.write_video(tmp_path / "a.mp4", scenes.gears(1, (97, 64), 2))
    with pytest.raises(ValueError, match="no frames"):
        encode.write_video(tmp_path / "b.mp4", [])
    with pytest.raises(ValueError, match="h264, hevc, vp9"):
        encode.write_video(tmp_path / "c.mp4", scenes.gears(1, (96, 64), 2), codec="mpeg5")


@pytest.mark.parametrize("name", ["30_damaged.mp4", "31_truncated.mp4"])
def test_broken_files_open_but_do_not_decode_whole(tmp_path, name):
    """A hole of 4096 bytes fell into a key frame and was concealed without any error."""
    entry = next(one for one in catalogue.entries() if one.label.file == name)
    entry.write(tmp_path / name)
    errors, decoded = 0, 0
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].frames == entry.label.frames
        for packet in container.demux(video=0):
            try:
                decoded += len(packet.decode())
            except av.FFmpegError:
                errors += 1
    assert errors
    assert 0 < decoded < 0.95 * entry.label.frames


class TestCatalogue:
    """The list of files itself, without rendering it."""

    labels = {entry.label.file: entry.label for entry in catalogue.entries()}

    def test_names_are_in_order_and_differ(self):
        assert list(self.labels) == sorted(self.labels)
        assert len(self.labels) == len(catalogue.entries())

    def test_there_is_enough_good_footage_and_some_of_every_fault(self):
        good = [label for label in self.labels.values() if label.good and not label.duplicate_of]
        assert sum(label.kind == "video" and not label.cuts for label in good) >= 8
        assert sum(label.kind == "image" for label in good) >= 3
        faults = {defect for label in self.labels.values() for defect in label.defects}
        assert faults == {"freeze", "blurred", "too_dark", "flicker", "too_small", "damaged", "truncated", "empty"}

    def test_duplicates_come_last_and_name_a_file_before_them(self):
        names = list(self.labels)
        duplicates = [name for name in names if self.labels[name].duplicate_of]
        assert duplicates == names[-len(duplicates) :]
        assert {self.labels[name].duplicate_kind for name in duplicates} == {"near", "exact"}
        assert all(self.labels[name].duplicate_of in names for name in duplicates)

    def test_the_edited_videos_are_cut_where_their_labels_say(self, tmp_path):
        entry = next(one for one in catalogue.entries() if one.label.file == "12_quick_cuts.mp4")
        entry.write(tmp_path / "cuts.mp4")
        with av.open(str(tmp_path / "cuts.mp4")) as container:
            frames = [frame.to_ndarray(format="gray").astype(int)[::4, ::4] for frame in container.decode(video=0)]
        change = np.array([np.abs(b - a).mean() for a, b in itertools.pairwise(frames)])
        assert len(frames) == entry.label.frames
        assert tuple(np.sort(np.argsort(change)[-3:]) + 1) == entry.label.cuts

    def test_stills_have_the_size_of_their_label(self, tmp_path):
        for entry in catalogue.entries():
            if entry.label.kind == "image":
                entry.write(tmp_path / entry.label.file)
                with Image.open(tmp_path / entry.label.file) as image:
                    assert image.size == (entry.label.width, entry.label.height)
