"""What is not shown as it is stored: HDR by its formulas, transparency, wide samples of stills."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vid_assets.footage.decode import stream_frames
from vid_assets.footage.reader import DecodeError
from vid_assets.footage.shown import to_sdr
from vid_assets.footage.stills import read_image
from vid_assets_tests.unit.curation.measuring import header, measured
from vid_assets_tests.unit.footage.ffmpeg import ffmpeg, needs_ffmpeg
from vid_assets_tests.unit.footage.rendering import pan

#: Code values of grey light, cd/m2, by the tables of BT.2408 (PQ) and BT.2100 (HLG, display of 1000 cd/m2).
GREY = {"smpte2084": {0: 0.0, 100: 0.508, 203: 0.581, 1000: 0.752}, "arib-std-b67": {0: 0.0, 203: 0.75, 1000: 1.0}}


@pytest.mark.parametrize("transfer", GREY)
def test_greys_are_greys_from_black_to_the_brightest_highlight(transfer):
    codes = np.array([[code] * 3 for code in GREY[transfer].values()])
    found = to_sdr(codes, transfer)
    assert np.ptp(found, axis=1).max() < 0.005
    by_light = dict(zip(GREY[transfer], found[:, 0].tolist(), strict=True))
    assert by_light[0] == 0 and by_light[1000] == pytest.approx(1, abs=0.01)
    assert 0.92 < by_light[203] < 0.98, "white is bright, with room above it"
    if 100 in by_light:
        assert by_light[100] == pytest.approx((100 / 203) ** (1 / 2.4), abs=0.01)


@pytest.mark.parametrize("transfer", GREY)
def test_more_light_is_never_darker(transfer):
    codes = np.linspace(0, 1, 200)[:, None].repeat(3, axis=1)
    assert (np.diff(to_sdr(codes, transfer)[:, 0]) >= -1e-9).all()
    assert to_sdr(np.ones((1, 3)), transfer).max() <= 1


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
        ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva444p")),
        ("mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")),
        ("apng", ("-c:v", "apng", "-pix_fmt", "rgba", "-f", "apng")),
    ],
)
def test_transparency_is_shown_on_black(suffix, options, tmp_path):
    colour = np.stack(pan(4, 6, (96, 64)))
    alpha = np.zeros((6, 64, 96, 1), np.uint8)
    alpha[:, 16:48, 24:72] = 255
    alpha[:, 48:, 24:72] = 128
    source = ("-f", "rawvideo", "-pix_fmt", "rgba", "-s", "96x64", "-r", "12", "-i", "-")
    path = tmp_path / f"file.{suffix}"
    ffmpeg(*source, *options, path, data=np.concatenate([colour, alpha], axis=-1).tobytes())
    video = header(path)
    times = measured(path, ("proof",))["proof"].timestamps
    served = [one for _, one in stream_frames(str(path), video, range(6), np.array(times), "pyav")]
    expected = colour * (alpha / 255)
    for number, picture in enumerate(served):
        assert isinstance(picture, np.ndarray), picture
        assert picture[:12].max() <= 2, "what lies under full transparency is not seen"
        assert np.abs(picture - expected[number])[18:46, 26:70].mean() < 8
        assert np.abs(picture - expected[number])[50:, 26:70].mean() < 8


def still(path, values, tags=None):
    Image.fromarray(values).save(path, tiffinfo=tags or {})
    return read_image(str(path))


def test_wide_samples_of_stills_are_scaled_by_what_the_file_declares(tmp_path):
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    expected = np.round(255 * ramp)
    assert np.abs(still(tmp_path / "a.tif", ramp)[..., 0] - expected).max() <= 1
    declared = {340: 0.0, 341: 1000.0}
    assert np.abs(still(tmp_path / "b.tif", ramp * 1000, declared)[..., 0] - expected).max() <= 1
    with pytest.raises(
        DecodeError, match="fraction from 0 to 1000, and it declares no range; store it in 8 or 16 bits"
    ):
        still(tmp_path / "c.tif", ramp * 1000)
    with pytest.raises(DecodeError, match="integers of 32 bits from 0 to 70000"):
        still(tmp_path / "d.tif", (ramp * 70000).astype(np.int32))
    sixteen = still(tmp_path / "e.png", (ramp * 65535).astype(np.uint16))
    assert np.abs(sixteen[..., 0] - expected).max() <= 1
