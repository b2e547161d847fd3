"""The frames that enter the VAE are, by content, those that the command `ffmpeg` shows at those times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vid_assets.footage.decode import Route, decoder_route, frames_on_screen, in_order, other_route, stream_frames
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.ffmpeg import ffmpeg, needs_ffmpeg, numbered, render, shown
from vid_assets_tests.unit.footage.rendering import pan

pytestmark = needs_ffmpeg

X264, X265 = ("-c:v", "libx264"), ("-c:v", "libx265", "-x265-params")
#: Form of a file -> how it is encoded.
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "x264": ("mp4", (*X264, "-g", "12", "-bf", "2")),
    "x264 open": ("mp4", (*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1:b-adapt=0")),
    "x264 without B": ("mkv", (*X264, "-g", "12", "-bf", "0")),
    "x265 open": ("mp4", (*X265, "keyint=24:min-keyint=24:scenecut=0:b-adapt=0:log-level=error")),
    "x265 closed": ("mkv", (*X265, "keyint=12:open-gop=0:log-level=error")),
    "vp9": ("webm", ("-c:v", "libvpx-vp9", "-g", "12", "-cpu-used", "8", "-deadline", "realtime")),
    "vp9 hidden": ("webm", ("-c:v", "libvpx-vp9", "-g", "24", "-auto-alt-ref", "1", "-lag-in-frames", "12")),
    "mpeg4": ("mp4", ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2", "-g", "12")),
    "mpeg2 in a transport stream": ("ts", ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "12")),
}
#: What is served by decord in these forms where nothing was cut: what is right must not be made anew.
BY_DECORD = {"x264", "x264 without B", "x265 closed", "vp9", "vp9 hidden"}


def route_of(path: Path) -> tuple[dict[str, Any], np.ndarray, Route]:
    """Header, frame times and route of a file, as the plan of a batch finds them."""
    video = header(path)
    stats = measured(path, ("proof", "packets"))
    proof, counts = stats["proof"], {name: values[0] or 0.0 for name, values in stats["packets"].stats.items()}
    ordered = in_order(counts, len(proof.timestamps))
    return video, np.array(proof.timestamps), decoder_route(video, proof.status == "ok", ordered)


def compare(path: Path, *windows: np.ndarray, route: Route | None = None, filters: Sequence[str] = ()) -> Route:
    """Hold the frames on screen at the moments of windows against those of ffmpeg; returns the route that they take."""
    video, times, found = route_of(path)
    pictures, at = shown(path, video["width"], video["height"], *filters)
    np.testing.assert_allclose(times, at, atol=1e-3)
    for window, way in product(windows, (route or found, other_route(route or found))):
        numbers = np.unique(frames_on_screen(times, window[window >= times[0]].tolist()))
        for number, picture in stream_frames(str(path), video, numbers.tolist(), times, way):
            assert isinstance(picture, np.ndarray), picture
            errors = np.abs(pictures.astype(np.int16) - picture).mean(axis=(1, 2, 3))
            assert int(errors.argmin()) == number, f"{way} shows frame {int(errors.argmin())} for {number}"
            assert errors[number] < 4
    return found


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_file(form: str, tmp_path: Path) -> None:
    suffix, options = FORMS[form]
    path = render(tmp_path / f"file.{suffix}", numbered(90), *options)
    route = compare(path, np.arange(0, 4, 1 / 24), np.arange(2.1, 4, 1 / 24), np.arange(3, 4, 1 / 8))
    assert (route == "decord") == (form in BY_DECORD)


def test_decord_alone_would_show_other_frames_in_an_open_group_of_pictures(tmp_path: Path) -> None:
    """The reason of it all: should a later decord read these right, the rule may go."""
    suffix, options = FORMS["x265 open"]
    path = render(tmp_path / f"file.{suffix}", numbered(90), *options)
    with pytest.raises(AssertionError, match="decord shows frame"):
        compare(path, np.arange(3, 3.8, 1 / 8), route="decord")


#: Woven of two fields that were filmed one after the other, as `interlace` makes it, by encoders that say so.
WOVEN = ("-vf", "interlace=scan=tff:lowpass=0", "-flags", "+ilme+ildct")
FIELDS = {
    "mpeg2": ("ts", ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "12", "-top", "1")),
    "h264": ("mp4", ("-c:v", "libx264", "-x264-params", "tff=1", "-g", "12", "-crf", "12")),
    "h264 in a transport stream": ("ts", ("-c:v", "libx264", "-x264-params", "tff=1:open-gop=1", "-g", "12")),
}


@pytest.mark.parametrize("form", FIELDS)
def test_interlaced_footage_is_deinterlaced_wherever_a_window_begins(form: str, tmp_path: Path) -> None:
    suffix, options = FIELDS[form]
    grey = [
        picture.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8) for picture in pan(5, 100, (160, 128), step=2)
    ]
    path = render(tmp_path / f"file.{suffix}", grey, *WOVEN, *options, rate="50")
    assert header(path)["is_interlaced"]
    start = route_of(path)[1][0]
    windows = [start + np.arange(at, 1.9, 1 / 8) for at in (0, 0.5, 1.3)]
    assert compare(path, *windows, filters=["bwdif=mode=send_frame:parity=auto:deint=interlaced"]) == "pyav"
    with pytest.raises(AssertionError):
        compare(path, *windows)  # as it is stored


def test_hdr_is_shown_as_the_same_scene_in_sdr(tmp_path: Path) -> None:
    """Rendered by zscale: to light, 203 cd/m2 of it for white, to BT.2020 and PQ."""
    sdr = render(tmp_path / "sdr.mkv", pan(6, 30, (160, 128)), "-c:v", "libx264", "-crf", "8", "-colorspace", "bt709",
                 "-vf", "scale=out_color_matrix=bt709", "-color_primaries", "bt709", "-color_trc", "bt709")  # fmt: skip
    for name, most in (("smpte2084", 0.4), ("arib-std-b67", 0.6)):  # of HLG, zscale knows no display
        to_hdr = (
            f"zscale=tin=bt709:min=bt709:pin=bt709:t=linear:npl=203,format=gbrpf32le,"
            f"zscale=p=bt2020:t={name}:m=bt2020nc:npl=203,format=yuv420p10le"
        )
        hdr = tmp_path / f"{name}.mkv"
        ffmpeg("-i", sdr, "-vf", to_hdr, "-c:v", "libx265", "-x265-params", "log-level=error:crf=8", hdr)
        video, times, _ = route_of(hdr)
        assert video["is_hdr"] and video["color_transfer"] == name
        stored, _ = shown(hdr, 160, 128)
        wanted, _ = shown(sdr, 160, 128)
        served = np.stack([one for _, one in stream_frames(str(hdr), video, range(30), times, "pyav")])  # type: ignore[misc]
        error, before = (np.abs(one.astype(int) - wanted).mean() for one in (served, stored))
        assert error < most * before, (name, error, before)
        assert 0.75 < served.std() / wanted.std() < 1.25


@given(
    form=st.sampled_from(sorted(FORMS)),
    frames=st.integers(30, 110),
    rate=st.sampled_from(["24", "24000/1001", "30000/1001", "12"]),
    cut_s=st.one_of(st.none(), st.floats(0.05, 0.4)),
    rotation=st.sampled_from([0, 90, 180]),
    dropped=st.sampled_from([0, 3, 5]),
    start_s=st.floats(0, 3),
    fps=st.sampled_from([4.0, 8.0, 23.976, 24.0]),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_of_any_file(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    frames: int,
    rate: str,
    cut_s: float | None,
    rotation: int,
    dropped: int,
    start_s: float,
    fps: float,
) -> None:
    """Codec, group of pictures, cut without encoding anew, uneven clock, and turned by the header."""
    folder = tmp_path_factory.mktemp("any")
    suffix, options = FORMS[form]
    if dropped:
        options = ("-vf", f"select=not(eq(mod(n\\,{dropped})\\,2))", "-fps_mode", "vfr", *options)
    path = render(folder / f"file.{suffix}", numbered(frames), *options, rate=rate)
    if rotation and suffix == "mp4":
        turned = folder / f"turned.{suffix}"
        ffmpeg("-i", path, "-c", "copy", "-metadata:s:v", f"rotate={rotation}", turned)
        path = turned
    if cut_s is not None:
        cut = folder / f"cut.{suffix}"
        ffmpeg("-ss", f"{cut_s:.3f}", "-i", path, "-c", "copy", cut)
        path = cut
    compare(path, start_s + np.arange(0, 4, 1 / fps))
