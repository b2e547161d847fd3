"""Every format that the bundled libav can write, from the header to the frames of both routes.

It can write neither Theora nor WMV 3, VC-1 and RealVideo; that libav can read Theora is all that is checked.
"""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from vid_assets.curation.statistics import measure
from vid_assets.footage.decode import decoder_route
from vid_assets.footage.probe import probe
from vid_assets.footage.stills import heif_is_installed, read_image
from vid_assets_tests.unit.footage.reading import read_frames
from vid_assets_tests.unit.footage.rendering import pan, write_video

SIZE, FRAMES = (96, 64), 14
SHOWN = [cv2.blur(image, (7, 7)) for image in pan(21, FRAMES, SIZE, step=2)]
TEN_BIT = "yuv420p10le"
RAW = {"h264", "hevc", "m2v", "mjpeg", "obu"}

#: file name -> encoder, pixel format, name of the codec in the row
VIDEOS = {
    "h264.mp4": ("libx264", "yuv420p", "h264"),
    "h264.mkv": ("libx264", "yuv420p", "h264"),
    "h264.mov": ("libx264", "yuv420p", "h264"),
    "h264.ts": ("libx264", "yuv420p", "h264"),
    "h264.avi": ("libx264", "yuv420p", "h264"),
    "h264.flv": ("libx264", "yuv420p", "h264"),
    "raw.h264": ("libx264", "yuv420p", "h264"),
    "hevc.mp4": ("libx265", "yuv420p", "hevc"),
    "hevc10.mkv": ("libx265", TEN_BIT, "hevc"),
    "raw.hevc": ("libx265", "yuv420p", "hevc"),
    "h264_10.mp4": ("libx264", TEN_BIT, "h264"),
    "vp8.webm": ("libvpx", "yuv420p", "vp8"),
    "vp8.ivf": ("libvpx", "yuv420p", "vp8"),
    "vp9.webm": ("libvpx-vp9", "yuv420p", "vp9"),
    "av1.mp4": ("libsvtav1", "yuv420p", "av1"),
    "av1_10.mp4": ("libsvtav1", TEN_BIT, "av1"),
    "av1.webm": ("libsvtav1", "yuv420p", "av1"),
    "av1.obu": ("libsvtav1", "yuv420p", "av1"),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", "mpeg1video"),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", "mpeg2video"),
    "mpeg2.mxf": ("mpeg2video", "yuv420p", "mpeg2video"),
    "raw.m2v": ("mpeg2video", "yuv420p", "mpeg2video"),
    "mpeg4.avi": ("mpeg4", "yuv420p", "mpeg4"),
    "mpeg4.m4v": ("mpeg4", "yuv420p", "mpeg4"),
    "wmv2.wmv": ("wmv2", "yuv420p", "wmv2"),
    "mjpeg.avi": ("mjpeg", "yuvj420p", "mjpeg"),
    "raw.mjpeg": ("mjpeg", "yuvj420p", "mjpeg"),
    "prores.mov": ("prores_ks", "yuv422p10le", "prores"),
    "ffv1.mkv": ("ffv1", "yuv420p", "ffv1"),
    "raw.y4m": ("wrapped_avframe", "yuv420p", "rawvideo"),
    "rgb.gif": ("gif", "rgb8", "gif"),
    "rgb.apng": ("apng", "rgb24", "apng"),
}


def write(path: Path, codec: str, pix_fmt: str) -> str:
    options = {"x265-params": "log-level=none:bframes=2"} if codec == "libx265" else {}
    options |= {"bf": "2"} if codec in ("libx264", "mpeg2video") else {}
    options |= {"b": "2000k"} if codec in ("mpeg1video", "mpeg2video", "mpeg4", "wmv2", "libvpx", "mjpeg") else {}
    return write_video(path, SHOWN, codec=codec, pix_fmt=pix_fmt, **options)


@pytest.mark.parametrize("name", VIDEOS)
def test_every_format_gives_its_row_its_proof_and_its_frames(tmp_path, name):
    codec, pix_fmt, shown_as = VIDEOS[name]
    path = write(tmp_path / name, codec, pix_fmt)
    if name == "h264.mkv":
        path = str(Path(path).rename(tmp_path / "no_extension"))
    header = probe(path)
    assert header.status == "ok", header.error
    assert (header.kind, header.codec, header.width, header.height) == ("video", shown_as, *SIZE)
    assert header.bit_depth == (10 if "10" in pix_fmt else 8)
    assert header.is_hdr is None and header.rotation == 0 and header.is_mirrored is False
    raw = name.split(".")[1] in RAW
    if raw:
        assert header.is_vfr is None and header.duration_s is None and header.claimed_frames is None
    proof = measure(path, vars(header), ["proof"])["proof"]
    assert (proof.status, proof.error) == ("ok", None)
    assert proof.decoded_ratio == pytest.approx(1.0) and len(proof.timestamps) == FRAMES
    steps = np.diff(proof.timestamps)
    # A hundredth of a second is what GIF counts in
    assert steps == pytest.approx([1 / 24 if not (raw and codec in ("mjpeg", "libsvtav1")) else 1 / 25] * 13, abs=0.01)
    wanted = [proof.timestamps[i] for i in (0, 1, 6, 13)]
    tolerance = 40 if codec == "gif" else 12
    for route in {decoder_route(vars(header), True, True), "pyav"}:
        for image, number in zip(
            read_frames(path, vars(header), wanted, route, proof.timestamps), (0, 1, 6, 13), strict=True
        ):
            assert np.abs(image.astype(int) - SHOWN[number]).mean() < tolerance


def test_the_picture_is_that_of_the_place_in_time_where_the_container_has_no_times(tmp_path):
    """Frames that are nearly all alike but for one; B-frames are decoded in another order than they are shown."""
    frames = [np.full((64, 96, 3), 15 * i, np.uint8) for i in range(16)]
    for name in ("a.h264", "a.avi", "a.hevc"):
        codec = "libx265" if name == "a.hevc" else "libx264"
        options = {"x265-params": "log-level=none:bframes=3"} if codec == "libx265" else {"bf": "3"}
        path = write_video(tmp_path / name, frames, codec=codec, **options)
        header = vars(probe(path))
        times = measure(path, header, ["proof"])["proof"].timestamps
        assert decoder_route(header, True, True) == "pyav"
        shown = read_frames(path, header, [times[11], times[3], times[4]], "pyav", times)[:, 20, 20, 0]
        assert np.abs(shown.astype(int) - [165, 45, 60]).max() <= 3, name


def test_theora_can_be_read():
    assert av.Codec("theora", "r").is_decoder


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "bmp", "tiff", "gif"])
def test_every_still_format(tmp_path, suffix):
    picture = SHOWN[0]
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path, quality=95)
    header = probe(str(path))
    assert (header.status, header.kind, header.width, header.height) == ("ok", "image", *SIZE)
    assert header.bit_depth == 8 and header.fps is None and header.duration_s is None
    proof = measure(str(path), vars(header), ["proof"])["proof"]
    assert proof.status == "ok" and proof.timestamps == [0.0]
    assert np.abs(read_image(str(path)).astype(int) - picture).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientations_turn_and_mirror(tmp_path, orientation, suffix):
    """The header says what is done to the stored picture, and doing that gives what is served."""
    from vid_assets.footage.geometry import upright

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(SHOWN[0]).save(path, exif=exif, quality=95, lossless=True)
    header = probe(str(path))
    shown = read_image(str(path))
    assert (header.height, header.width) == shown.shape[:2]
    turned = upright(SHOWN[0], header.rotation, header.is_mirrored)
    assert np.abs(shown.astype(int) - turned).mean() < 3 < np.abs(shown.astype(int) - turned[::-1]).mean()


@pytest.mark.skipif(not heif_is_installed(), reason="the extra `heic` is not installed")
def test_a_heic_still_is_read(tmp_path):
    Image.fromarray(SHOWN[0]).save(tmp_path / "a.heic", quality=95)
    header = probe(str(tmp_path / "a.heic"))
    assert (header.status, header.codec, header.width, header.height) == ("ok", "heif", *SIZE)
    assert np.abs(read_image(str(tmp_path / "a.heic")).astype(int) - SHOWN[0]).mean() < 12


def test_what_cannot_be_read_says_what_would_help(tmp_path, monkeypatch):
    monkeypatch.setattr("vid_assets.footage.probe.heif_is_installed", lambda: False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100))
    assert "the extra `heic`" in probe(str(tmp_path / "a.heic")).error
    pictures = [Image.fromarray(image) for image in SHOWN[:3]]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:])
    assert "animated WebP" in probe(str(tmp_path / "a.webp")).error
