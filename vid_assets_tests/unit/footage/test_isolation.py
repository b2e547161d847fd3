"""What a hostile file may cost, and that it ends as a reason in words."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.groups import GROUPS
from vid_assets.curation.statistics import measure_apart
from vid_assets.footage import isolation
from vid_assets.footage.isolation import UnfinishedError, isolated
from vid_assets.footage.probe import probe_apart
from vid_assets.footage.settings import Decoding
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, write_video


def rows(path, limits=None):
    """The header and, where it can be read, the groups of a file, as the assets get them."""
    limits = limits or Decoding(stall_s=20, time_limit_s=30, memory_gb=2)
    header = probe_apart(str(path), limits)
    if header.status == "failed":
        return header, {}
    video = vars(header) | {"size_bytes": os.path.getsize(path)}
    return header, measure_apart(str(path), video, list(GROUPS), limits)


def spin(seconds):
    """Works on without a sign of life."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def beat_for_ever():
    from vid_assets.footage.heartbeat import beat

    for frame in range(10**9):
        beat(frame)
        time.sleep(0.05)


def noise(lines):
    for number in range(lines):
        os.write(2, f"[h264 @ 0x55{number:06x}] error while decoding MB {number} 7\n".encode())
    print("a library that prints")


def test_what_the_call_gives_and_raises_comes_back():
    assert isolated(abs, -3, limits=Decoding()).value == 3
    with pytest.raises(FileNotFoundError):
        isolated(open, "/no/such/file", limits=Decoding())


@pytest.mark.parametrize(
    ("function", "args", "limits", "limit", "words"),
    [
        (spin, (60,), {"stall_s": 1}, ("stall_s", 1), "stands still"),
        (beat_for_ever, (), {"stall_s": 5, "time_limit_s": 2}, ("time_limit_s", 2), "takes longer than decoding.time_"),
        (bytearray, (3 << 30,), {"memory_gb": 1}, ("memory_gb", 1), "more memory than decoding.memory_gb = 1"),
        (np.ones, (3 << 30,), {"memory_gb": 1}, ("memory_gb", 1), "more memory"),
        (ctypes.string_at, (0,), {}, None, "crashed on it (SIGSEGV)"),
        (os._exit, (3,), {}, None, "crashed on it (exit status 3)"),
        (os.abort, (), {}, None, "SIGABRT"),
        (len, (3,), {}, None, "reading it failed with TypeError: object of type"),
    ],
)
def test_each_limit_ends_the_reading_with_a_reason_and_the_next_file_is_read(function, args, limits, limit, words):
    started = time.monotonic()
    with pytest.raises(UnfinishedError) as caught:
        isolated(function, *args, limits=Decoding(**limits))
    assert time.monotonic() - started < 15
    assert words in caught.value.reason and caught.value.limit == limit
    assert isolated(abs, -1, limits=Decoding()).value == 1


def test_seconds_of_footage_extend_the_time():
    assert isolated(spin, 2, limits=Decoding(time_limit_s=0.5), footage_s=1).value is None


def test_what_is_printed_goes_to_the_record_once_for_lines_that_differ_in_numbers(capfd):
    log = isolated(noise, 5000, limits=Decoding()).log
    assert "[h264] error while decoding MB 0 7 (5000 times)" in log and "a library that prints" in log
    assert len(log.splitlines()) == 2
    assert isolated(abs, -1, limits=Decoding()).log is None
    assert capfd.readouterr() == ("", "")


def test_one_worker_serves_all_calls():
    assert isolated(os.getpid, limits=Decoding()).value == isolated(os.getpid, limits=Decoding()).value != os.getpid()


def test_a_worker_that_ended_meanwhile_is_replaced():
    psutil.Process(isolated(os.getpid, limits=Decoding()).value).kill()
    time.sleep(0.3)
    assert isolated(abs, -1, limits=Decoding()).value == 1


def test_an_installation_in_which_no_worker_starts_is_no_fault_of_the_files(tmp_path, monkeypatch):
    (tmp_path / "av").mkdir()
    (tmp_path / "av/__init__.py").write_text("raise ImportError('no libav here')")
    monkeypatch.setattr(isolation, "_REPO", f"{tmp_path}{os.pathsep}{isolation._REPO}")
    with pytest.raises(RuntimeError, match=r"does not start(.|\n)*no libav here"):
        isolation.Worker().call(abs, -1, limits=Decoding())


def imports_what_is_not_there():
    import no_such_module  # noqa: F401


def test_what_cannot_be_imported_there_is_no_fault_of_the_file_and_told_at_once():
    """Otherwise every file would be given up, one after another, as if its decoder stood still."""
    module = types.ModuleType("made_here_alone")
    exec("def work(): pass", vars(module))
    sys.modules["made_here_alone"] = module
    started = time.monotonic()
    try:
        for function in (module.work, imports_what_is_not_there):
            with pytest.raises(RuntimeError, match=r"lacks something: ModuleNotFoundError: No module named"):
                isolated(function, limits=Decoding(stall_s=20))
    finally:
        del sys.modules["made_here_alone"]
    assert time.monotonic() - started < 15
    assert isolated(abs, -1, limits=Decoding()).value == 1


def test_the_worker_goes_when_its_parent_is_killed(tmp_path):
    """Killed in the midst of a call, with no time to clean up."""
    code = """
        import os, threading, time
        from vid_assets.config import Decoding
        from vid_assets.footage.isolation import isolated
        print(isolated(os.getpid, limits=Decoding()).value, flush=True)
        isolated(time.sleep, 100, limits=Decoding())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    worker.wait(10)
    parent.stdout.close()


def test_after_a_fork_the_child_has_a_worker_of_its_own():
    mine = isolated(os.getpid, limits=Decoding()).value
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(isolated(os.getpid, limits=Decoding()).value).encode())
        isolation._worker.stop()
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(read, 100))
    assert theirs != mine == isolated(os.getpid, limits=Decoding()).value


# --- hostile files


def test_a_still_of_too_many_pixels_is_not_decoded(tmp_path):
    """A few bytes that would unpack to half a gigabyte."""
    for name in ("bomb.png", "bomb.gif"):
        path = tmp_path / name
        Image.new("P", (16, 16)).save(path)
        data = bytearray(path.read_bytes())
        if name == "bomb.png":
            data[16:24] = (12336).to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        else:
            data[6:10] = (12336).to_bytes(2, "little") * 2
        path.write_bytes(data)
        header, _ = rows(path)
        assert header.status == "failed" and "12336x12336 pixels" in header.error
        assert (header.hit_limit, header.limit_value) == ("max_pixels", 120_000_000)


@pytest.mark.parametrize("suffix", ["webp", "avif", "jpg", "tiff"])
def test_the_limit_of_pixels_holds_for_every_still(tmp_path, suffix):
    Image.new("RGB", (64, 48)).save(tmp_path / f"a.{suffix}")
    assert probe_apart(str(tmp_path / f"a.{suffix}"), Decoding(max_pixels=64 * 48 - 1)).hit_limit == "max_pixels"
    assert probe_apart(str(tmp_path / f"a.{suffix}"), Decoding(max_pixels=64 * 48)).status == "ok"


def test_a_video_header_of_too_many_pixels(tmp_path):
    path = write_video(tmp_path / "huge.ivf", pan(1, 3, (64, 48)), codec="libvpx")
    data = bytearray((tmp_path / "huge.ivf").read_bytes())
    size = (12336).to_bytes(2, "little") * 2
    data[12:16] = size
    start = data.index(b"\x9d\x01\x2a") + 3  # the size in the key frame of VP8
    data[start : start + 4] = size
    (tmp_path / "huge.ivf").write_bytes(data)
    header, _ = rows(path)
    assert header.status == "failed" and header.hit_limit == "max_pixels" and "12336x12336" in header.error


def test_a_header_of_too_many_hours(tmp_path):
    path = tmp_path / "long.webm"
    write_video(path, pan(1, 3, (64, 48)), codec="libvpx")
    data = bytearray(path.read_bytes()).replace(b"DURATION", b"DURABLE_")
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = np.array(1e15, ">f8").tobytes()  # milliseconds
    path.write_bytes(data)
    header, _ = rows(path)
    assert header.status == "failed" and header.hit_limit == "max_hours" and "hours" in header.error


def test_a_still_that_takes_too_much_memory(tmp_path):
    Image.new("L", (30_000, 3_500)).save(tmp_path / "large.png", compress_level=1)
    header, groups = rows(tmp_path / "large.png", Decoding(memory_gb=0.5))
    assert header.status == "ok"
    assert {group.status for group in groups.values()} == {"failed"}
    assert "memory_gb = 0.5" in groups["proof"].error
    assert (groups["proof"].hit_limit, groups["proof"].limit_value) == ("memory_gb", 0.5)


SUFFIXES = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4", "ts": "mpeg2video", "gif": "gif"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_fuzzed_files_are_rows_and_print_nothing(tmp_path, suffix, capfd):
    pix_fmt = "rgb8" if suffix == "gif" else "yuv420p"
    source = tmp_path / f"sound.{suffix}"
    write_video(source, pan(2, 12, (64, 48)), codec=SUFFIXES[suffix], pix_fmt=pix_fmt)
    sound = source.read_bytes()
    capfd.readouterr()  # encoders print
    for seed in range(8):
        rng = np.random.default_rng(seed)
        data = bytearray(sound)
        first = 0 if seed % 2 else len(data) // 3
        for offset in rng.integers(first, len(data), 4 ** (1 + seed % 4)):
            data[offset] = int(rng.integers(256))
        path = tmp_path / f"fuzzed{seed}.{suffix}"
        path.write_bytes(data[: len(data) // 2] if seed == 7 else data)
        header, groups = rows(path)
        assert (header.status == "ok") == (header.error is None)
        for group in groups.values():
            assert (group.status == "ok") == (group.error is None)
    assert capfd.readouterr() == ("", "")


@needs_footage
def test_the_decoders_words_are_in_the_proof(capfd):
    header, groups = rows(FOOTAGE / "odd/corrupted_tail.mp4")
    assert header.status == "ok" and "Invalid NAL unit size" in groups["proof"].log
    assert groups["light"].log is None
    assert "4.90 s" in groups["proof"].error or "s;" in groups["proof"].error
    assert capfd.readouterr() == ("", "")


def test_long_reads_tell_how_far_they_are(tmp_path):
    path = write_video(tmp_path / "a.mp4", pan(1, 500, (640, 480)), preset="ultrafast")
    told = []
    header = probe_apart(path, Decoding())
    video = vars(header) | {"size_bytes": os.path.getsize(path)}
    measure_apart(path, video, list(GROUPS), Decoding(), told.append)
    assert told and told == sorted(told) and 0 < told[-1] <= 500
