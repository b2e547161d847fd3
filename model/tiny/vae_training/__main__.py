"""Makes the shipped tiny VAE: `python -m model.tiny.vae_training --footage FOLDER --output FOLDER`.

Writes `config.json`, the weights (float16), `measured.json`, and the card that says what was measured. With `--start`
it goes on from the weights of an earlier run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.checkpoint import atomic_folder
from model.tiny.vae_training.card import write_card
from model.tiny.vae_training.footage import Clip, read_footage
from model.tiny.vae_training.linear_code import LinearCode, psnr
from model.tiny.vae_training.linear_path import CONFIG
from model.tiny.vae_training.rendered import rendered_clips
from model.tiny.vae_training.training import Curve, Footage, reconstruct, train, train_linear


def main() -> None:
    """Train, measure, and save."""
    options = _options()
    torch.manual_seed(options.seed)
    real, held_out = read_footage(options.footage)
    rendered = rendered_clips(options.rendered, options.seed)
    footage = Footage(real, rendered, options.seed)
    _say(f"{len(real)} clips of real files, {len(rendered)} rendered ones, {len(held_out)} held out")
    vae = load(options.start) if options.start else _new(footage, options.linear_minutes)
    first_of_each = [Clip(name, frames[:9]) for name, frames in _first(held_out).items()]
    curve = Curve()
    vae = train(vae, footage, first_of_each, options.minutes, _say, curve, options.lr)
    trained = vae.half().float()  # as it will be read
    with atomic_folder(options.output, replace=True) as folder:
        measured = _measured(trained, curve, [*real, *rendered], held_out)
        (folder / "measured.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
        trained.half().save_pretrained(str(folder))
        write_card(folder, measured)
    _say(json.dumps(measured["held out"], indent=1))


def load(folder: Path) -> Any:
    """The VAE in `folder`, in float32, to train further."""
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo.from_pretrained(str(folder), torch_dtype=torch.float32, local_files_only=True)


def _new(footage: Footage, minutes: float) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo

    path = train_linear(footage, minutes, _say)
    vae = AutoencoderKLHunyuanVideo(**CONFIG)
    path.write_into(vae, [footage.batch((2, 9, 64)) for _ in range(32)])
    return vae


def _measured(vae: Any, curve: Curve, train_on: Sequence[Clip], held_out: Sequence[Clip]) -> dict[str, Any]:
    """PSNR (dB) of every held-out file, by the VAE and by the linear code fitted on the training clips."""
    code, pairs = LinearCode.fit(train_on), {}
    for name in sorted({clip.name for clip in held_out}):
        clips = [clip.frames for clip in held_out if clip.name == name]
        pairs[name] = {
            "vae": psnr((frames, reconstruct(vae, frames)) for frames in clips),
            "linear code": psnr((frames, code.reconstruct(frames)) for frames in clips),
            "linear code, one basis": psnr((frames, code.reconstruct(frames, one_basis=True)) for frames in clips),
        }
    means = {which: sum(row[which] for row in pairs.values()) / len(pairs) for which in next(iter(pairs.values()))}
    beside: dict[str, list[float]] = {"linear code": [], "linear code, one basis": []}
    for frames in (frames[:9] for frames in _first(held_out).values()):
        beside["linear code"].append(psnr([(frames, code.reconstruct(frames))]))
        beside["linear code, one basis"].append(psnr([(frames, code.reconstruct(frames, one_basis=True))]))
    return {
        "parameters": sum(weight.numel() for weight in vae.parameters()),
        "held out": {**pairs, "mean": means},
        "curve": curve.rows,
        "beside the curve": {name: sum(values) / len(values) for name, values in beside.items()},
    }


def _first(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """The first window of each file."""
    return {clip.name: clip.frames for clip in reversed(clips)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m model.tiny.vae_training", description=__doc__)
    parser.add_argument("--footage", type=Path, required=True, help="a folder with video/ and images/")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--linear-minutes", type=float, default=13)
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--lr", type=float, default=1.5e-4)
    parser.add_argument("--rendered", type=int, default=150, help="how many clips to render")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
