from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.footage.decode import decoder_route, decoder_version, frames_on_screen
from vid_assets.footage.geometry import upright
from vid_assets.footage.probe import probe
from vid_assets.footage.reader import DecodeError, VideoReader
from vid_assets.footage.shown import shown
from vid_assets.footage.stills import read_image
from vid_assets_tests.unit.footage.reading import frame_times, read_frames
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, write_video

DECORD_FILES = [
    "video/bbb_480p_30s.mp4",
    "video/exo_rot90_video_1.mp4",
    "video/exo_bear_vp9.webm",
    "video/intel_asl_bird.mkv",
    "video/nasa_13013.mp4",
    "video/mdn_pig.mp4",
    "odd/rot90_3frames.mov",
]


@needs_footage
@pytest.mark.parametrize("name", DECORD_FILES)
def test_both_routes_show_the_same_upright_picture(name):
    path = str(FOOTAGE / name)
    video = vars(probe(path))
    times = frame_times(path, video["stream_index"])
    wanted = [times[i] for i in np.linspace(0, len(times) - 1, 7).astype(int)]
    pyav = read_frames(path, video, wanted, "pyav", times)
    decord = read_frames(path, video, wanted, "decord", times)
    assert pyav.shape == decord.shape == (7, video["height"], video["width"], 3)
    assert np.abs(pyav.astype(int) - decord).max() <= 4


@needs_footage
@pytest.mark.parametrize("name", ["video/exo_sample_av1.mp4", "video/exo_hevc_hlg_10bit_rot.mp4", "odd/var_fps.mp4"])
def test_seeking_gives_the_frames_of_a_straight_pass(name):
    path = str(FOOTAGE / name)
    video = vars(probe(path))
    frames = shown(VideoReader(path, video["stream_index"]).av_frames(), video)
    straight = {frame.time: upright(frame.to_ndarray(format="rgb24"), video["rotation"]) for frame in frames}
    times = sorted(straight)
    wanted = [times[i] for i in (len(times) - 1, 0, len(times) // 2, len(times) // 2)]
    served = read_frames(path, video, wanted, "pyav", times)
    assert all((image == straight[time]).all() for image, time in zip(served, wanted, strict=True))


@needs_footage
def test_a_stream_is_read_whole_past_damage():
    reader = VideoReader(str(FOOTAGE / "odd/corrupted_tail.mp4"), 0)
    assert sum(1 for _ in reader.av_frames()) == 49
    assert reader.packets == 50 and reader.packet_errors == 1
    assert "Invalid data" in reader.error


@pytest.mark.parametrize("route", ["pyav", "decord"])
def test_the_frame_on_screen_is_the_last_that_has_begun(tmp_path, route):
    """A variable rate: index over average rate would give other frames. A millisecond early still counts."""
    times_ms = [0, 40, 80, 1000, 1040, 1080, 3000, 3040]
    frames = [np.full((48, 64, 3), 20 + 25 * i, np.uint8) for i in range(8)]
    path = write_video(tmp_path / "vfr.mp4", frames, times_ms=times_ms, bf="2")
    video = vars(probe(path))
    asked = [0.0, 0.0391, 0.0386, 0.998, 1.0, 2.9, 3.0, 99.0]
    shown = read_frames(path, video, asked, route)[:, 20, 20, 0]
    assert np.abs(shown.astype(int) - [20, 45, 20, 70, 95, 145, 170, 195]).max() <= 3


def test_order_and_repeats_are_those_of_the_request(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(20)])
    video = vars(probe(path))
    shown = read_frames(path, video, [15 / 24, 3 / 24, 15 / 24], "pyav")[:, 20, 20, 0]
    assert np.abs(shown.astype(int) - [150, 30, 150]).max() <= 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_turned_and_mirrored_video_is_shown_as_it_was_filmed(tmp_path, rotation, mirrored, suffix):
    shown = np.zeros((96, 128, 3), np.uint8)
    shown[:48, :64] = (200, 40, 40)  # a corner for each colour
    shown[:48, 64:] = (40, 200, 40)
    shown[48:, :64] = (40, 40, 200)
    # What is turned clockwise and then mirrored to be shown was mirrored, then turned the other way, to be stored
    stored = np.ascontiguousarray(np.rot90(shown[:, ::-1] if mirrored else shown, k=rotation // 90))
    path = write_video(tmp_path / f"clip.{suffix}", [stored] * 3, rotation=rotation, mirrored=mirrored)
    video = vars(probe(path))
    assert (video["rotation"], video["is_mirrored"], video["width"], video["height"]) == (rotation, mirrored, 128, 96)
    for route in {decoder_route(video, True, True), "pyav"}:
        (image,) = read_frames(path, video, [0.0], route)
        assert image.shape == shown.shape
        assert np.abs(image.astype(int) - shown).mean() < 5, route
    assert decoder_route(video, True, True) == ("pyav" if mirrored or (rotation and suffix == "mkv") else "decord")


@pytest.mark.parametrize("route", ["pyav", "decord"])
@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(3, 4)])
def test_pictures_are_served_with_square_pixels(tmp_path, route, rotation, aspect):
    """A circle that is stored squeezed comes out round."""
    stored = np.zeros((120, 120, 3), np.uint8)
    longer, shorter = (40, 30)
    cv2.ellipse(stored, (60, 60), (shorter, longer) if aspect > 1 else (longer, shorter), 0, 0, 360, (255,) * 3, -1)
    path = write_video(tmp_path / "clip.mp4", [stored] * 3, rotation=rotation, sample_aspect=aspect)
    (image,) = read_frames(path, vars(probe(path)), [0.0], route)
    assert sorted(image.shape[:2]) == [120, 160]
    bright = image[..., 1] > 128
    wide, high = bright.any(axis=0).sum(), bright.any(axis=1).sum()
    assert abs(wide - high) <= 3 and abs(wide - 80) <= 3


@pytest.mark.parametrize("route", ["pyav", "decord"])
def test_a_frame_that_does_not_exist_is_an_error(tmp_path, route):
    path = write_video(tmp_path / "clip.mp4", pan(1, 5, (64, 48)), times_ms=[1000, 1040, 1080, 1120, 1160])
    video = vars(probe(path))
    assert frames_on_screen(np.array(frame_times(path, 0)), [-5.0]) == [-1]
    with pytest.raises(DecodeError):
        read_frames(path, video, [7.0], route, timestamps=[1.0, 7.0])


@needs_footage
def test_decord_is_not_trusted_with_a_stream_of_other_size():
    """nasa_13013 holds a second video stream; were it asked for, decord would silently show the best one."""
    path = str(FOOTAGE / "video/nasa_13013.mp4")
    other = vars(probe(path)) | {"stream_index": 0, "width": 320, "height": 180}
    with pytest.raises(DecodeError):
        read_frames(path, other, [1.0], "decord")
    assert read_frames(path, other, [1.0], "pyav").shape == (1, 180, 320, 3)


def test_decord_cannot_read_pictures_narrower_than_64_px_and_says_so(tmp_path):
    path = write_video(tmp_path / "narrow.mp4", pan(1, 3, (48, 64)))
    with pytest.raises(DecodeError, match="decord cannot read it"):
        read_frames(path, vars(probe(path)), [0.0], "decord")


def test_route_follows_codec_format_geometry_and_proof():
    plain = {"codec": "h264", "pix_fmt": "yuv420p", "rotation": 0, "is_mirrored": False, "container": "mov,mp4"}
    plain |= {"kind": "video", "is_interlaced": None, "color_transfer": "bt709"}
    assert decoder_route(plain, True, True) == "decord"
    assert decoder_route(plain | {"rotation": 90}, True, True) == "decord"
    assert decoder_route(plain, False, True) == "pyav"
    for other in (
        {"codec": "av1"},
        {"codec": "hevc", "pix_fmt": "yuv420p10le"},
        {"is_mirrored": True},
        {"is_interlaced": True},
        {"color_transfer": "arib-std-b67"},
        {"container": "matroska,webm", "rotation": 180},
        {"container": "avi"},
    ):
        assert decoder_route(plain | other, True, True) == "pyav"
    assert "decord" in decoder_version("decord") and "pyav" in decoder_version("pyav")


def test_a_transport_stream_in_which_another_stream_begins_late_is_read_whole(tmp_path):
    video = tmp_path / "a.ts"
    write_video(video, pan(1, 24, (64, 48)))
    # The same packets under another identifier (13 bits at the start of each 188-byte packet), announced late
    data = bytearray(video.read_bytes())
    other = bytearray(data)
    for start in range(0, len(other), 188):
        if other[start + 1] & 0x1F == 0x01 and other[start + 2] == 0x00:
            other[start + 2] = 0x55
    video.write_bytes(data + other.replace(b"\xe1\x00\xf0", b"\xe1\x55\xf0"))
    reader = VideoReader(str(video), 0)
    assert sum(1 for _ in reader.av_frames()) >= 24


def test_packet_hash_is_of_the_stream_not_of_the_container(tmp_path):
    import av

    source = write_video(tmp_path / "a.mp4", pan(1, 12, (64, 48)))
    with av.open(source) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    other = write_video(tmp_path / "c.mp4", pan(2, 12, (64, 48)))
    hashes = []
    for path in (source, str(tmp_path / "b.mkv"), other):
        reader = VideoReader(path, 0)
        assert sum(1 for _ in reader.av_frames()) == 12
        hashes.append(reader.packet_hash)
    assert hashes[0] == hashes[1] != hashes[2]


@needs_footage
def test_stills_come_out_upright():
    for name in ("Landscape_6.jpg", "portrait-orientation-6.jpg", "denali.webp"):
        path = str(FOOTAGE / "images" / name)
        found = probe(path)
        assert read_image(path).shape == (found.height, found.width, 3)
    sky, ground = np.array_split(read_image(str(FOOTAGE / "images/Landscape_6.jpg")), 2)
    assert sky.mean() > ground.mean() + 20


def test_still_formats_keep_their_values(tmp_path):
    deep = np.full((8, 8), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert (read_image(str(tmp_path / "deep.png")) == 40000 // 256).all()
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert (read_image(str(tmp_path / "clear.png")) == 0).all()
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DecodeError):
        read_image(str(tmp_path / "cut.jpg"))
