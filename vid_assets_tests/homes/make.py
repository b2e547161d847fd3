"""Freezes the home of this release, against which the next one is tested: `python -m vid_assets_tests.homes.make OUT`.

Six files of footage in two batches: a copy, a rejected clip, a still and captions among them. All models but the VAE
have weights of zeros, which compress to nothing: only the last bias of the denoiser ever learns.
"""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from vid_assets.demo import edits, encode, scenes
from vid_assets.footage.decode import decoder_version
from vid_assets.reports.staleness import standings
from vid_assets_tests.homes import footage_in_memory, materialize_all, project_in

SIZE, RATE, FRAMES = (96, 64), 12, 30
#: When the footage was written, seconds since 1970.
CREATED = 1_700_000_000.0
CONFIG: dict[str, Any] = {
    "sources": [{"uri": "memory://former"}],
    "batching": {"max_files": 3},
    "ingest": {"settle_s": 0},
    "policy": {"short_side_min": 32, "duration_min": 1.0, "sharpness_min": 1, "fps_min": 10},
    "vae": {"family": "hunyuan_video", "source": "./models/vae"},
    "text_encoder": {"family": "t5", "source": "./models/t5", "max_tokens": 64},
    "pooled_text_encoder": {"family": "clip", "source": "./models/clip", "max_tokens": 40},
    "image_encoder": {"source": "./models/clip"},
    "encoding": {"batch_size": 4, "device": "cpu", "audit": 1},
    "stages": [
        {"name": "short", "buckets": ["1x32x48", "5x32x48@8"], "image_share": 0.25, "steps": 2, "batch_size": 2},
        {"name": "long", "buckets": ["9x32x48@8"], "steps": 2, "batch_size": 2},
    ],
    "experiments": {"one": {"model": "tiny-dit", "weights": {"source": "./models/denoiser"}}},
    "heldout": {"share": 0.0, "minimum": 1},
    "evaluation": {"videos": 1, "sampling_steps": 2},
    "train": {"device": "cpu", "threads": 1, "processes": 1, "keep_last": 1, "tensorboard": False},
}
#: What goes into the archive: what an asset verifies, or shows on a hit. Not plans, pictures, locks, step folders.
KEPT = (
    "*.yaml",
    "*.json",
    "footage/*",
    "models/*/*",
    "home/lancedb/**/*",
    "home/state/**/*.json",
    "home/checkpoints/*/*/*/manifest.json",
    "home/checkpoints/*/*/*/final/**/*",
    "home/evaluations/**/*",
)
#: The VAE comes with the code; hashes of files are remembered by the path that the home had.
LEFT_OUT = ("models/vae/*", "home/state/weights/*", "home/state/hashes/*")


def make_footage(folder: Path) -> None:
    """`one` and its worse copy in another batch, two others, one too dark to be kept, and a still."""
    folder.mkdir()

    def shapes(seed: int) -> Any:
        return scenes.moving_shapes(seed, SIZE, FRAMES, RATE)

    encode.write_video(folder / "dark.mp4", edits.darken(shapes(3), 0.05), RATE, crf=32)
    encode.write_video(folder / "one.mp4", shapes(0), RATE)
    encode.write_video(folder / "three.mp4", shapes(2), RATE, crf=32)
    encode.write_video(folder / "two.mp4", shapes(1), RATE, crf=32)
    encode.write_video(folder / "worse.mp4", shapes(0), RATE, crf=36)
    encode.write_still(folder / "still.jpg", next(iter(scenes.moving_shapes(10, SIZE, 1, RATE))))
    (folder / "one.txt").write_text("patterned toys glide", encoding="utf-8")
    line = {"file_name": "two.mp4", "text": "toys on a cloth"}
    (folder / "metadata.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def make_models(folder: Path) -> None:
    """A T5, a whole CLIP and the denoiser, all of zeros."""
    import torch
    from transformers import ByT5Tokenizer, CLIPConfig, CLIPModel, T5EncoderModel

    from model import denoisers
    from model.tiny.models import save_tiny_text_encoder

    def empty(model: Any) -> Any:
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        return model

    save_tiny_text_encoder(folder / "t5")
    empty(T5EncoderModel.from_pretrained(folder / "t5")).save_pretrained(folder / "t5")
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = ByT5Tokenizer()
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    clip = CLIPConfig(
        text_config=narrow | tokens | {"max_position_embeddings": 40},
        vision_config=narrow | {"image_size": 16, "patch_size": 8, "projection_dim": 16},
        projection_dim=16,
    )
    empty(CLIPModel(clip)).save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    levels = {"image_mean": [0.5] * 3, "image_std": [0.3] * 3}
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(levels), encoding="utf-8")
    empty(denoisers.build("tiny-dit", 0, "none")).save_pretrained(folder / "denoiser")


def make(folder: Path) -> None:
    """Everything of the archive below `folder`, and the VAE, which does not go into it."""
    from model.tiny.models import save_tiny_vae

    make_footage(folder / "footage")
    make_models(folder / "models")
    save_tiny_vae(folder / "models" / "vae")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    project = project_in(folder)
    with footage_in_memory(folder / "footage", CREATED):
        assets = materialize_all(project, dg.PipesSubprocessClient())
        unsettled = [one for one in standings(project) if one.condition != "fresh"]
    assert not unsettled, unsettled
    assert project.store.count("duplicates") == project.store.count("verdicts", "NOT accepted") == 1
    assert project.store.count("captions", "caption IS NOT NULL") == 2
    record = {
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "created": CREATED,
        "decoders": {route: decoder_version(route) for route in ("decord", "pyav")},
        "assets": list(assets),
    }
    (folder / "former.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """The archive: files in order of name, without owner, and with one time."""
    chosen, left_out = (
        {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
        for patterns in (KEPT, LEFT_OUT)
    )

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode, member.mtime = 0o644, int(CREATED)
        return member

    with tarfile.open(archive, "w:xz", preset=9 | lzma.PRESET_EXTREME) as tar:
        for path in sorted(chosen - left_out):
            tar.add(path, path.relative_to(folder), filter=plain)


if __name__ == "__main__":
    place = Path(tempfile.gettempdir(), "former_home")  # one place, as records in the home name it
    place.mkdir()
    try:
        make(place)
        pack(place, Path(sys.argv[1]))
    finally:
        shutil.rmtree(place)
