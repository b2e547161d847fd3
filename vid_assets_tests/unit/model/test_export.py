"""Exported checkpoints, loaded by diffusers alone; their pipelines sample what this project samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from model import denoisers
from model.checkpoint import CheckpointError
from model.data.kinds import KINDS
from model.denoisers import models, preset
from model.denoisers.conditions import Conditions
from model.encoders.image import encode_images, load_image_encoder
from model.encoders.text import encode_texts, load_text_encoder
from model.export import ExportError, Parts, export
from model.objectives import make
from model.vaes.backend import encode, load_vae
from model.weights import checkpoint_hash, weights_hash
from vid_assets_tests.small_vaes import save_small_vae
from vid_assets_tests.unit.model.tables import write_record

STEPS, CAPTION = 3, "a red ball"


@pytest.fixture(scope="module")
def vae_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small VAE, saved when it is first asked for."""
    root, made = tmp_path_factory.mktemp("vaes"), {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = save_small_vae(root, name)
        return made[name]

    return get


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip") / "image_encoder"
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, projection_dim=64,
            image_size=224, patch_size=56,
        )
    ).save_pretrained(folder)  # fmt: skip
    CLIPImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return folder


def checkpoint(folder: Path, name: str, vae: Path, **recipe: Any) -> Path:
    """A finished checkpoint of untrained weights, of which the average differs from the raw ones."""
    chosen = preset(name)
    settings = {
        "model": name,
        "family": chosen.family,
        "image_conditioning": chosen.image_conditioning,
        "weights": None,
    }
    settings |= {"objective": chosen.objective.model_dump(), "lora": None} | recipe
    for part, seed in (("denoiser", 1), ("ema", 0)):
        model: Any = models.build(name, seed, settings["image_conditioning"])
        model.save_pretrained(str(folder / part))
    hashes = {"vae_weights_hash": weights_hash(vae), "weights_hash": checkpoint_hash(folder)}
    write_record(folder, recipe=settings, training_set_digest="d" * 16, summary={"steps": 7}, **hashes)
    return folder


def made_here(name: str, noise: torch.Tensor, conditions: Conditions, steps: int = STEPS) -> torch.Tensor:
    """Latents (B, C, f, h, w) that this project's objective makes with the averaged weights."""
    chosen, model = preset(name), models.build(name, 0)
    family, objective = denoisers.family(chosen.family), make(chosen.objective)
    with torch.no_grad():
        return objective.generate(
            lambda noisy, timestep: family.predict(model, noisy, timestep, conditions),
            noise,
            steps,
            noise[0, 0].numel(),
        )


def conditions(name: str, **given: Any) -> Conditions:
    states = {kind: given.pop(kind) for kind in KINDS if kind in given}
    return replace(Conditions.none(1), states=states, text_tokens=preset(name).text_tokens, **given)


def noise(channels: int, frames: int, height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.randn(1, channels, frames, height, width, generator=torch.Generator().manual_seed(0))


def call(pipeline: Any, **arguments: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(num_inference_steps=STEPS, output_type="latent", return_dict=False, **arguments)[0]


def prompt(text_folder: Path, tokens: int = 64) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The states of the caption, and the same padded as a pipeline takes them where it runs T5 without a mask."""
    (text,) = encode_texts(load_text_encoder(text_folder), [CAPTION])
    padded = torch.zeros(1, tokens, 64)
    padded[0, : len(text.states)] = text.states
    return text.states, {"prompt_embeds": padded, "prompt_attention_mask": padded.any(-1)}


def test_wan_samples_as_here(tmp_path: Path, vae_of: Callable[[str], Path], text_folder: Path) -> None:
    name, vae = "wan-tiny", vae_of("wan-2.1")
    folder = checkpoint(tmp_path / "final", name, vae)
    made = export(folder, tmp_path / "out", Parts(vae=vae, text_encoder=text_folder))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline).__name__ == made.pipeline == "WanPipeline" and made.missing == ()
    text, start = prompt(text_folder)[0], noise(16, 2)
    sampled = call(
        pipeline, prompt=CAPTION, height=32, width=48, num_frames=5, latents=start, guidance_scale=1.0,
        max_sequence_length=64,
    )  # fmt: skip
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(STEPS)
    # the times of the objective: equal steps, shifted once
    shifted = [3 * t / (1 + 2 * t) for t in (1.0, 2 / 3, 1 / 3)]
    torch.testing.assert_close(scheduler.sigmas[:-1], torch.tensor(shifted), rtol=2e-3, atol=2e-3)
    family, model, here = denoisers.family("wan"), models.build(name, 0), start
    given = conditions(name, text=[text])
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            here = scheduler.step(family.predict(model, here, timestep[None], given), timestep, here).prev_sample
    torch.testing.assert_close(here, sampled, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(made_here(name, start, given), sampled, rtol=0.1, atol=0.1)  # another solver


def test_ltx_samples_as_here(tmp_path: Path, vae_of: Callable[[str], Path], text_folder: Path) -> None:
    name, vae = "ltx-video-tiny", vae_of("ltx_video")
    folder = checkpoint(tmp_path / "final", name, vae)
    made = export(folder, tmp_path / "out", Parts(vae=vae, text_encoder=text_folder))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline).__name__ == made.pipeline == "LTXPipeline" and made.missing == ()
    start, (text, embeds) = noise(128, 2), prompt(text_folder)
    sampled = call(
        pipeline, **embeds, height=128, width=192, num_frames=9, latents=start.flatten(2).transpose(1, 2),
        guidance_scale=1.0, frame_rate=12,
    )  # fmt: skip
    here = made_here(name, start, conditions(name, text=[text], fps=[12.0]))
    torch.testing.assert_close(here, sampled.transpose(1, 2).unflatten(2, (2, 4, 6)), rtol=1e-3, atol=1e-4)
    video = call(pipeline, prompt=CAPTION, height=64, width=64, num_frames=9, guidance_scale=2.0)
    assert video.isfinite().all()


def test_a_given_first_frame_is_kept_by_the_pipeline_of_ltx_as_here(
    tmp_path: Path, vae_of: Callable[[str], Path], text_folder: Path
) -> None:
    name, vae = "ltx-video-tiny", vae_of("ltx_video")
    folder = checkpoint(tmp_path / "final", name, vae, image_conditioning="first_frame")
    made = export(folder, tmp_path / "out", Parts(vae=vae, text_encoder=text_folder))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline).__name__ == made.pipeline == "LTXImageToVideoPipeline"
    text, embeds = prompt(text_folder)
    start, first = noise(128, 3), torch.ones(1, 128, 4, 6)
    here = made_here(name, start, conditions(name, text=[text], first_frame=first))
    torch.testing.assert_close(here[:, :, 0], first, rtol=1e-4, atol=1e-4)
    start[:, :, 0] = first
    sampled = call(
        pipeline, image=None, **embeds, height=128, width=192, num_frames=17, guidance_scale=1.0,
        latents=start.flatten(2).transpose(1, 2),
    )  # fmt: skip
    torch.testing.assert_close(here, sampled.transpose(1, 2).unflatten(2, (3, 4, 6)), rtol=1e-3, atol=1e-4)


def test_cogvideox_samples_as_here(tmp_path: Path, vae_of: Callable[[str], Path], text_folder: Path) -> None:
    name, vae = "cogvideox-tiny", vae_of("cogvideox-5b")
    export(checkpoint(tmp_path / "final", name, vae), tmp_path / "out", Parts(vae=vae, text_encoder=text_folder))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline).__name__ == "CogVideoXPipeline"
    start, (text, embeds) = noise(16, 3), prompt(text_folder)
    sampled = call(
        pipeline, prompt_embeds=embeds["prompt_embeds"], height=32, width=48, num_frames=9, guidance_scale=1.0,
        latents=start.transpose(1, 2),
    )  # fmt: skip
    here = made_here(name, start, conditions(name, text=[text]))
    torch.testing.assert_close(here, sampled.transpose(1, 2), rtol=1e-3, atol=1e-4)
    video = call(pipeline, prompt=CAPTION, height=32, width=48, num_frames=9, max_sequence_length=64)
    assert video.isfinite().all()


def test_a_pipeline_loads_without_the_parts_that_were_not_at_hand(
    tmp_path: Path, vae_of: Callable[[str], Path]
) -> None:
    name, vae = "hunyuan-video-tiny", vae_of("hunyuan_video")
    made = export(checkpoint(tmp_path / "final", name, vae), tmp_path / "out", Parts(vae=vae))
    assert made.missing == ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    readme = (tmp_path / "out/README.md").read_text()
    assert made.loading in readme and "text_encoder_2=None" in made.loading
    pipeline = eval(made.loading, {"diffusers": diffusers})
    assert type(pipeline).__name__ == "HunyuanVideoPipeline"
    text, pooled = torch.randn(1, 5, 64), torch.randn(1, 64)
    start = noise(16, 3)
    sampled = call(
        pipeline, prompt_embeds=text, pooled_prompt_embeds=pooled, prompt_attention_mask=torch.ones(1, 5),
        height=32, width=48, num_frames=9, latents=start, guidance_scale=4.0,
    )  # fmt: skip
    here = made_here(name, start, conditions(name, text=[text[0]], pooled=[pooled], guidance=4.0))
    torch.testing.assert_close(here, sampled, rtol=1e-3, atol=1e-4)


def test_svd_makes_the_same_video_of_an_image(
    tmp_path: Path, vae_of: Callable[[str], Path], image_encoder: Path
) -> None:
    name, vae = "svd-tiny", vae_of("svd")
    folder = checkpoint(tmp_path / "final", name, vae)
    made = export(folder, tmp_path / "out", Parts(vae=vae, image_encoder=image_encoder))
    assert made.missing == ()
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline).__name__ == made.pipeline == "StableVideoDiffusionPipeline"
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    start = noise(4, 3, 8, 8)
    sampled = call(
        pipeline, image=Image.fromarray(picture), height=64, width=64, num_frames=3, fps=7, noise_aug_strength=0.0,
        latents=start.transpose(1, 2), max_guidance_scale=1.0,
    )  # fmt: skip
    moments = torch.from_numpy(encode(load_vae(vae, family="svd"), picture[None, None], "svd"))
    given = conditions(
        name,
        image=encode_images(load_image_encoder(image_encoder), [picture]),
        first_frame=denoisers.family("svd").first_frame(moments, None),
        fps=[7.0],
    )
    here = made_here(name, start, given)
    # without a dictionary this pipeline gives the frames alone: of them, `call` took the first clip
    torch.testing.assert_close(here, sampled[None].transpose(1, 2), rtol=1e-3, atol=1e-3)


def test_where_no_pipeline_fits_the_parts_load_one_by_one(tmp_path: Path, vae_folder: Path) -> None:
    folder = checkpoint(tmp_path / "final", "tiny-dit", vae_folder)  # Wan's architecture in HunyuanVideo's latents
    made = export(folder, tmp_path / "out", Parts(vae=vae_folder), weights="raw", dtype="float16")
    assert made.pipeline is None and not (tmp_path / "out/model_index.json").exists()
    model = eval(made.loading, {"diffusers": diffusers})
    raw = models.build("tiny-dit", 1).state_dict()
    saved = load_file(tmp_path / "out/transformer/diffusion_pytorch_model.safetensors")
    assert saved.keys() == raw.keys() == model.state_dict().keys()
    assert all(torch.equal(value, raw[key].to(value.dtype)) for key, value in saved.items())
    # all but what diffusers wants of this class in float32
    assert saved["blocks.0.attn1.to_q.weight"].dtype == torch.float16
    assert saved["blocks.0.scale_shift_table"].dtype == torch.float32
    diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "out", subfolder="scheduler")
    vae = diffusers.AutoencoderKLHunyuanVideo.from_pretrained(tmp_path / "out", subfolder="vae")
    assert weights_hash(tmp_path / "out/vae") == weights_hash(vae_folder) and vae.config.latent_channels == 16
    assert json.loads((tmp_path / "out/checkpoint.json").read_text())["recipe"]["model"] == "tiny-dit"


def test_a_first_frame_of_wan_has_no_pipeline(tmp_path: Path, vae_of: Callable[[str], Path]) -> None:
    vae = vae_of("wan-2.1")
    folder = checkpoint(tmp_path / "final", "wan-tiny", vae, image_conditioning="first_frame")
    made = export(folder, tmp_path / "out")
    assert made.pipeline is None
    assert eval(made.loading, {"diffusers": diffusers}).config.in_channels == 36


def test_what_is_not_the_checkpoint_or_its_vae_is_refused(
    tmp_path: Path, vae_folder: Path, vae_of: Callable[[str], Path]
) -> None:
    folder = checkpoint(tmp_path / "final", "tiny-dit", vae_folder)
    with pytest.raises(ExportError, match="not the VAE that the latents were made with"):
        export(folder, tmp_path / "out", Parts(vae=vae_of("hunyuan_video")))
    with pytest.raises(ExportError, match="known are ema, raw"):
        export(folder, tmp_path / "out", weights="best")
    with pytest.raises(ExportError, match=r"holds no checkpoint\.json"):
        export(tmp_path, tmp_path / "out")
    shutil.copytree(folder / "denoiser", folder / "ema", dirs_exist_ok=True)
    with pytest.raises(ExportError, match="weights are not those that"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="already exists"):
        export(checkpoint(tmp_path / "other", "tiny-dit", vae_folder), tmp_path / "out")
