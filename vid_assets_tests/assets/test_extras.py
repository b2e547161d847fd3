"""Files that need an optional extra: a row with that reason without it, read again once it is installed."""

from __future__ import annotations

import pytest

from vid_assets.footage import isolation


def test_a_heic_still_is_read_once_the_extra_is_installed(home, put, tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    from PIL import Image

    made = home(ingest={"readable_share_min": 0.0})
    picture = put(made, "still.png")
    pillow_heif.from_pillow(Image.open(picture).convert("RGB")).save(made.footage / "phone.heic", quality=90)
    picture.unlink()
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pillow_heif.py").write_text("raise ImportError('not installed')")
    with monkeypatch.context() as without:
        without.setenv("PYTHONPATH", str(hidden))
        without.setattr("vid_assets.assets.ingest.raw_videos.find_spec", lambda name: None)
        isolation._worker.stop()
        made.run()
        (row,) = made.rows("videos")
        assert row["status"] == "failed" and "install the extra `heic`" in row["error"]
    isolation._worker.stop()
    assert made.run()["raw_videos[b00001]"] == 1
    (row,) = made.rows("videos", "status = 'ok'")
    assert (row["kind"], row["width"], row["height"]) == ("image", 96, 64)
    assert len(made.rows("clips")) == 1
    assert made.run() == {}
