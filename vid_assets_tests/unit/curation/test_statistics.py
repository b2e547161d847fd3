import io
import itertools
import os
from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.labelled.footage import FOOTAGE
from vid_assets.curation.groups import GROUPS
from vid_assets.curation.hashing import MIRROR, from_halves, perceptual_hash
from vid_assets.curation.measures.base import Every
from vid_assets.curation.statistics import measure
from vid_assets.footage.probe import probe
from vid_assets_tests.unit.curation.measuring import measured
from vid_assets_tests.unit.footage.rendering import needs_footage, pan, texture, write_video

EVERYTHING = [
    str(path.relative_to(FOOTAGE))
    for folder in ("video", "odd", "images")
    for path in sorted(FOOTAGE.glob(f"{folder}/*"))
]


@needs_footage
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_real_file_is_measured_without_surprise(name):
    header = probe(str(FOOTAGE / name))
    if header.status == "failed":
        pytest.skip("no footage by its header")
    groups = measured(FOOTAGE / name)
    proof = groups["proof"]
    sound = name != "odd/corrupted_tail.mp4"
    assert proof.status == ("ok" if sound else "failed"), proof.error
    assert (proof.error is None) == sound
    if sound:
        assert proof.decoded_ratio == pytest.approx(1.0) and proof.corrupt_frames == proof.packet_errors == 0
        assert len(proof.packet_hash) == 64
        assert header.claimed_frames in (None, len(proof.timestamps))
    for name, group in groups.items():
        assert all(a < b for a, b in itertools.pairwise(group.timestamps))
        assert all(len(column) == len(group.timestamps) for column in group.stats.values())
        assert (group.version, group.group) == (GROUPS[name], name)
        if name in ("light", "change", "hashes"):
            assert group.timestamps == proof.timestamps
    assert bool(groups["thumbnails"].thumbnails) == bool(proof.timestamps)


@needs_footage
def test_damage_is_reported_and_what_decodes_is_measured():
    groups = measured(FOOTAGE / "odd/corrupted_tail.mp4")
    proof = groups["proof"]
    assert proof.status == "failed" and "1 damaged of 50 packets" in proof.error
    assert proof.decoded_ratio == pytest.approx(49 / 50)
    assert proof.corrupt_frames >= 19  # all after the lost packet, as no key frame follows
    assert len(groups["light"].timestamps) == 49 and groups["light"].status == "ok"


@needs_footage
def test_flipped_bytes_are_found_and_counted_up_to_the_next_key_frame(tmp_path):
    data = bytearray((FOOTAGE / "video/bbb_480p_30s.mp4").read_bytes())
    rng = np.random.default_rng(1)
    for offset in rng.integers(0, 20_000, 50):
        data[len(data) // 2 + int(offset)] ^= 0x5A
    (tmp_path / "flipped.mp4").write_bytes(data)
    proof = measured(tmp_path / "flipped.mp4", ["proof"])["proof"]
    assert proof.status == "failed" and "damage" in proof.error
    damaged = [time for time, bad in zip(proof.timestamps, proof.stats["corrupt"], strict=True) if bad]
    assert proof.corrupt_frames == len(damaged) > 0
    assert damaged[-1] < 378 / 24 - 0.001  # a key frame, by the shot list
    assert f"{damaged[0]:.2f}-" in proof.error and " s" in proof.error


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libx265"])
def test_damage_that_no_decoder_notices_is_found_by_the_checksums_of_matroska(tmp_path, codec):
    path = tmp_path / "a.mkv"
    options = {"x265-params": "log-level=none:keyint=24"} if codec == "libx265" else {"g": "24", "b": "400k"}
    write_video(path, pan(3, 72, (160, 120)), codec=codec, **options)
    assert measured(path, ["proof"])["proof"].status == "ok"
    data = bytearray(path.read_bytes())
    clusters = [at for at in range(len(data)) if data.startswith(b"\x1f\x43\xb6\x75", at)]
    at = (clusters[-1] + len(data)) // 2  # in the last cluster
    for offset in range(3):
        data[at + 7 * offset] ^= 0x5A
    path.write_bytes(data)
    proof = measured(path, ["proof"])["proof"]
    assert proof.status == "failed" and proof.corrupt_frames > 0
    assert f"1 of {len(clusters)} clusters do not fit their checksum at" in proof.error or "damage" in proof.error


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_file_cut_off_in_the_middle_does_not_decode_whole(tmp_path, suffix):
    options = {"movflags": "+faststart"} if suffix == "mp4" else {}
    path = tmp_path / f"whole.{suffix}"
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for image in pan(3, 48, (160, 120)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert measured(path, ["proof"])["proof"].decoded_ratio == pytest.approx(1.0)
    path.write_bytes(path.read_bytes()[: os.path.getsize(path) * 6 // 10])
    assert measured(path, ["proof"])["proof"].decoded_ratio < 0.9


def test_only_what_is_asked_for_is_measured_and_unknown_groups_are_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", pan(1, 6, (64, 48)))
    assert list(measured(path, ["hashes", "light"])) == ["light", "hashes"]
    with pytest.raises(ValueError, match="brightness"):
        measured(path, ["brightness"])


def test_light_in_known_pictures(tmp_path):
    gray = np.full((120, 160, 3), 128, np.uint8)
    half = gray.copy()
    half[:60] = 255
    black = np.zeros_like(gray)
    light = measured(write_video(tmp_path / "clip.mp4", [gray, half, black], g="1"), ["light"])["light"].stats
    assert light["luma"] == pytest.approx([128, 191.5, 0], abs=2)
    assert light["black"] == pytest.approx([0, 0, 1], abs=0.01)
    assert light["clipped"] == pytest.approx([0, 0.5, 0], abs=0.02)
    assert light["sharpness"][0] < 5 and light["sharpness"][1:] == [None, None]
    assert light["left"][2] is None


def test_sharpness_falls_with_blur(tmp_path):
    import cv2

    picture = texture(4, 240, 320)
    sharp = measured(write_video(tmp_path / "a.mp4", [picture]), ["light"])["light"].stats["sharpness"][0]
    soft = cv2.GaussianBlur(picture, (0, 0), 4)
    blurred = measured(write_video(tmp_path / "b.mp4", [soft]), ["light"])["light"].stats["sharpness"][0]
    assert blurred < 60 < sharp


def test_motion_of_a_known_pan(tmp_path):
    """3 px a frame at 24 fps is 36 px in half a second, on a diagonal of 400 px."""
    moving = measured(write_video(tmp_path / "a.mp4", pan(5, 49, (320, 240), step=3)), ["motion"])["motion"]
    sampled = [number for number, value in enumerate(moving.stats["mean"]) if value is not None]
    assert [moving.stats["mean"][number] for number in sampled] == pytest.approx([36 / 400] * 4, rel=0.25)
    assert [moving.timestamps[number] for number in sampled] == pytest.approx([0.5, 1, 1.5, 2])
    assert moving.stats["since"][sampled[0]] == 0
    still = measured(write_video(tmp_path / "b.mp4", pan(5, 1, (320, 240)) * 49), ["motion"])["motion"]
    assert max(value for value in still.stats["mean"] if value is not None) < 0.0005


def test_change_is_zero_in_a_freeze_and_unmeasured_before_the_first_frame(tmp_path):
    change = measured(write_video(tmp_path / "a.mp4", [texture(6)] * 5, crf="0"), ["change"])["change"].stats
    assert change["content"] == [None, 0, 0, 0, 0] and change["luma_change"] == [None, 0, 0, 0, 0]


def test_statistics_of_a_rotated_file_are_those_of_the_upright_picture(tmp_path):
    picture = texture(7, 240, 320)
    picture[:40] = 0  # a bar on top
    upright = measured(write_video(tmp_path / "a.mp4", [picture] * 2))
    stored = np.ascontiguousarray(np.rot90(picture))
    rotated = measured(write_video(tmp_path / "b.mp4", [stored] * 2, rotation=90))
    assert rotated["light"].stats["top"][0] == pytest.approx(40 / 240, abs=0.01)
    assert upright["light"].stats["top"][0] == pytest.approx(40 / 240, abs=0.01)
    a, b = (from_halves(g["hashes"].stats["high"][0], g["hashes"].stats["low"][0]) for g in (upright, rotated))
    assert ((a ^ b) & (2**64 - 1)).bit_count() <= 2


def test_a_still_has_one_frame_and_the_hash_of_its_pixels(tmp_path):
    picture = Image.fromarray(texture(8))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.webp", lossless=True)
    a, b = measured(tmp_path / "a.png"), measured(tmp_path / "b.webp")
    assert a["light"].timestamps == [0.0] and a["change"].stats["content"] == [None]
    assert a["motion"].timestamps == [0.0] and {value for (value,) in a["motion"].stats.values()} == {None}
    assert a["proof"].packet_hash == b["proof"].packet_hash
    picture.save(tmp_path / "c.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:5_000])
    cut = measured(tmp_path / "cut.jpg")
    assert cut["proof"].status == cut["light"].status == "failed" and "cannot be decoded" in cut["proof"].error


def test_statistics_of_a_squeezed_and_mirrored_file_are_those_of_the_picture_as_it_is_shown(tmp_path):
    """A bar on top and a dark quarter on the left, of a picture of 320x240 that is stored as 240x240, mirrored."""
    picture = texture(7, 240, 320)
    picture[:40] = picture[:, :80] = 0
    stored = cv2.resize(np.ascontiguousarray(picture[:, ::-1]), (240, 240), interpolation=cv2.INTER_AREA)
    path = write_video(tmp_path / "b.mp4", [stored] * 2, mirrored=True, sample_aspect=Fraction(4, 3))
    plain, squeezed = measured(write_video(tmp_path / "a.mp4", [picture] * 2)), measured(path)
    for name, share in {"top": 40 / 240, "left": 80 / 320, "right": 0}.items():
        assert squeezed["light"].stats[name][0] == pytest.approx(share, abs=0.015)
        assert plain["light"].stats[name][0] == pytest.approx(share, abs=0.015)
    a, b = (from_halves(g["hashes"].stats["high"][0], g["hashes"].stats["low"][0]) for g in (plain, squeezed))
    assert ((a ^ b) & (2**64 - 1)).bit_count() <= 4
    width, height = Image.open(io.BytesIO(squeezed["thumbnails"].thumbnails[0][1])).size
    assert width / height == pytest.approx(4 / 3, abs=0.02)


@pytest.mark.parametrize("suffix", ["avi", "h264"])
def test_bytes_are_known_where_the_file_has_no_times(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", pan(1, 20, (64, 48)), bf="3")
    proof = measured(path, ["proof"])["proof"]
    assert proof.status == "ok" and len(proof.timestamps) == 20
    assert None not in proof.stats["bytes"] and sum(proof.stats["bytes"]) <= os.path.getsize(path)


def test_a_rotation_that_the_header_did_not_show_fails_the_proof(tmp_path):
    path = write_video(tmp_path / "a.mp4", pan(1, 3, (64, 48)), rotation=90)
    header = vars(probe(path)) | {"rotation": 0}
    assert "90 degrees" in measure(path, header, ["proof"])["proof"].error
    header = vars(probe(path)) | {"is_mirrored": True}
    assert "and mirrored" in measure(path, header, ["proof"])["proof"].error


def test_a_mirrored_picture_has_the_mirrored_hash():
    gray = texture(9)[..., 0]
    differing = perceptual_hash(gray) ^ perceptual_hash(gray[:, ::-1]) ^ MIRROR
    assert differing.bit_count() <= 2
    assert (perceptual_hash(gray) ^ perceptual_hash(gray[:, ::-1])).bit_count() > 16


def test_flat_pictures_have_no_hash():
    assert perceptual_hash(np.zeros((90, 160), np.uint8)) is None
    assert perceptual_hash(np.full((90, 160), 255, np.uint8)) is None


@pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
def test_hashes_survive_storage_as_floats(value):
    from vid_assets.curation.hashing import halves

    stored = from_halves(*halves(value))
    assert stored % 2**64 == value and -(2**63) <= stored < 2**63


def test_sampling_follows_the_clock_and_not_the_frame_number():
    every = Every(0.5)
    times = [5.0, 5.1, 5.2, 5.5, 7.4, 7.45, 7.5, 7.9, 8.0]
    assert [time for time in times if every.due(time)] == [5.0, 5.5, 7.4, 7.5, 8.0]
