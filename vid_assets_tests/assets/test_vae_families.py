"""Another latent space than the demo's: through the chain, changed, and refused before anything is encoded."""

from __future__ import annotations

import pytest

from vid_assets.assets import assets_of
from vid_assets.section import ConfigError
from vid_assets_tests.harness import run_asset
from vid_assets_tests.small_vaes import save_small_vae

BUCKETS = ["1x64x64", "9x64x64@8"]


def test_another_family_fills_a_home_without_training_and_a_change_recomputes_latents_alone(home, put, tmp_path):
    made = home(
        vae={"family": "wan", "source": str(save_small_vae(tmp_path, "wan-2.1"))},
        stages=[{"name": "short", "buckets": BUCKETS, "image_share": 0.25, "steps": 4}],
        encoding={"dtype": "float32"},
        experiments=None,
        text_encoder=None,
    )
    made.config["experiments"] = {}
    put(made, "one.mp4")
    put(made, "still.png")
    made.run()
    rows = made.rows("latents")
    assert {(row["vae"], row["status"], tuple(row["shape"])) for row in rows} == {
        ("wan", "ok", (32, 1, 8, 8)),
        ("wan", "ok", (32, 3, 8, 8)),
    }
    assert "checkpoint/short" not in assets_of(made.project.config)
    assert made.materialize(["training_set/short"]) == {"training_set/short": len(made.rows("samples"))}

    made.change(vae={"family": "cogvideox", "source": str(save_small_vae(tmp_path, "cogvideox-5b"))})
    assert made.run() == {"vae": 1, "latents[b00001]": len(rows)}
    assert {row["vae"] for row in made.rows("latents")} == {"wan", "cogvideox"}

    # wan can be had with 16x16 pixels to a latent pixel too: these buckets then do not fit its denoiser's patches
    made.change(vae={"family": "wan", "source": str(save_small_vae(tmp_path, "wan-2.2"))})
    assert run_asset(made.project, "vae").facts["compression"] == "4x16x16, 48 channels"
    made.stage("short")["buckets"] = ["1x80x80", "9x80x80@8"]
    with pytest.raises(ConfigError, match="'1x80x80': height and width must be multiples of 32 for wan"):
        run_asset(made.project, "vae")
