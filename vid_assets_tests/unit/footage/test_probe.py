from fractions import Fraction

import pytest
from PIL import Image

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.footage.probe import probe
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, write_video

# name: kind, codec, stream, width, height, rotation, claimed frames
HEADERS = {
    "video/bbb_480p_30s.mp4": ("video", "h264", 0, 854, 480, 0, 720),
    "video/nasa_13013.mp4": ("video", "h264", 3, 480, 270, 0, 390),
    "video/exo_rot90_video_1.mp4": ("video", "h264", 0, 288, 352, 270, 23),
    "video/exo_hevc_hlg_10bit_rot.mp4": ("video", "hevc", 0, 1080, 1920, 90, 9),
    "video/exo_sample_av1.mp4": ("video", "av1", 0, 1080, 720, 0, 30),
    "video/exo_bear_vp9.webm": ("video", "vp9", 0, 320, 240, 0, None),
    "odd/rot90_3frames.mov": ("video", "h264", 0, 320, 568, 90, 3),
    "images/Landscape_6.jpg": ("image", "jpeg", 0, 1800, 1200, 90, 1),
    "images/denali.webp": ("image", "webp", 0, 600, 315, 0, 1),
}


@needs_footage
@pytest.mark.parametrize("name", HEADERS)
def test_header_as_displayed(name):
    found = probe(str(FOOTAGE / name))
    assert found.status == "ok" and found.error is None
    fields = (found.kind, found.codec, found.stream_index, found.width, found.height, found.rotation)
    assert (*fields, found.claimed_frames) == HEADERS[name]


@needs_footage
def test_variable_rate_is_told_from_constant():
    assert probe(str(FOOTAGE / "odd/var_fps.mp4")).is_vfr is True
    assert probe(str(FOOTAGE / "video/bbb_480p_30s.mp4")).is_vfr is False
    assert probe(str(FOOTAGE / "video/exo_bear_vp9.webm")).is_vfr is None


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_rotation_is_read_from_the_header(tmp_path, rotation, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", pan(1, 3, (64, 48)), rotation=rotation)
    found = probe(path)
    assert found.rotation == rotation
    assert (found.width, found.height) == ((64, 48) if rotation % 180 == 0 else (48, 64))


@needs_footage
def test_hdr_and_full_range_are_flagged():
    hlg = probe(str(FOOTAGE / "video/exo_hevc_hlg_10bit_rot.mp4"))
    assert (hlg.bit_depth, hlg.color_transfer, hlg.is_hdr, hlg.color_range) == (10, "arib-std-b67", True, "limited")
    full = probe(str(FOOTAGE / "video/intel_asl_bird.mkv"))
    assert (full.bit_depth, full.color_transfer, full.is_hdr, full.color_range) == (8, None, None, "full")
    known = probe(str(FOOTAGE / "odd/rot90_3frames.mov"))
    assert (known.color_transfer, known.is_hdr) == ("bt709", False)


def test_fields_are_told_from_frames(tmp_path):
    frames = pan(1, 4, (64, 64))
    woven = write_video(tmp_path / "a.ts", frames, codec="mpeg2video", flags="+ildct+ilme")
    assert probe(woven).is_interlaced is True
    assert probe(write_video(tmp_path / "b.ts", frames, codec="mpeg2video")).is_interlaced is False
    assert probe(write_video(tmp_path / "c.webm", frames, codec="libvpx-vp9")).is_interlaced is None


@pytest.mark.parametrize(
    ("aspect", "size"), [("4/3", (85, 48)), ("8/9", (64, 54)), ("1/1", (64, 48)), (None, (64, 48))]
)
def test_size_is_with_square_pixels(tmp_path, aspect, size):
    sample_aspect = Fraction(aspect) if aspect else None
    path = write_video(tmp_path / "a.mp4", pan(1, 3, (64, 48)), sample_aspect=sample_aspect)
    found = probe(path)
    assert (found.width, found.height) == size
    assert found.sample_aspect == (pytest.approx(float(sample_aspect)) if aspect else None)
    turned = probe(write_video(tmp_path / "b.mp4", pan(1, 3, (64, 48)), sample_aspect=sample_aspect, rotation=270))
    assert (turned.height, turned.width) == size


def test_content_decides_not_the_extension(tmp_path):
    still = tmp_path / "still.mp4"
    Image.new("RGB", (40, 30), "red").save(still, format="PNG")
    assert probe(str(still)).kind == "image"
    video = tmp_path / "clip.mp4"
    write_video(video, pan(1, 3, (64, 48)))
    renamed = video.rename(tmp_path / "clip.jpg")
    assert probe(str(renamed)).kind == "video"


def test_an_animated_gif_is_a_video_and_a_still_one_an_image(tmp_path):
    pictures = [Image.fromarray(image) for image in pan(1, 4, (64, 48))]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:], duration=100)
    pictures[0].save(tmp_path / "still.gif")
    assert probe(str(tmp_path / "moving.gif")).kind == "video"
    assert probe(str(tmp_path / "still.gif")).kind == "image"


def test_text_is_not_taken_for_footage(tmp_path):
    for name, text in {
        "notes.txt": "a caption\n" * 50,
        "list.m3u8": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n",
        "concat.txt": "ffconcat version 1.0\nfile '/etc/hostname'\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert probe(str(tmp_path / name)).status == "failed", name


def test_a_missing_file_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        probe(str(tmp_path / "gone.mp4"))
