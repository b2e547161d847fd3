"""Every family of denoisers, on its tiny preset: called as its class is, conditioned and trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import nn

from model import denoisers
from model.data.training_set import Batch, Sample
from model.denoisers import models, preset
from model.denoisers.conditions import Conditions
from model.errors import ModelError
from vid_assets_tests.unit.model import tables
from vid_assets_tests.unit.model.denoising import TINY, given, inputs, predict, states


@pytest.fixture(scope="module", params=TINY)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    return models.build(name, 0)


@pytest.mark.parametrize("frames", [1, 3])
def test_images_and_videos_train_every_weight(name: str, frames: int) -> None:
    model = models.build(name, 0)
    noisy, times = inputs(name, frames)
    output = denoisers.family(preset(name).family).predict(model, noisy, times, given(name))
    assert output.shape == noisy.shape
    (output - 1).square().mean().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    # attention to one image state gives it all the weight: what chooses among states learns nothing there
    single = ("attn2.to_q", "attn2.to_k", "norm2") if name == "svd-tiny" else ()
    idle = [key for key, grad in gradients.items() if grad is not None and not grad.any()]
    assert [key for key in idle if not any(part in key for part in single)] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_same_but_for_rounding(name: str, dtype: torch.dtype) -> None:
    model = models.build(name, 0)
    exact = predict(name, model, 3, given(name))
    noisy, times = inputs(name, 3)
    with torch.autocast("cpu", dtype):
        output = denoisers.family(preset(name).family).predict(model, noisy, times, given(name))
    assert (output.float() - exact).norm() < (0.03 if dtype == torch.bfloat16 else 0.004) * exact.norm()
    output.float().square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_what_a_sample_gets_depends_on_no_other_sample(name: str, model: nn.Module) -> None:
    together = predict(name, model, 3, given(name))
    longer = predict(name, model, 3, given(name, text=[states(5), states(40, 1)]))
    torch.testing.assert_close(longer[0], together[0], rtol=1e-4, atol=1e-5)
    if preset(name).text_family:
        assert (longer[1] - together[1]).abs().max() > 1e-4
    noisy, times = inputs(name, 3)
    alone = Conditions({kind: several[:1] for kind, several in given(name).states.items()}, [12.0], None, None, 64)
    with torch.no_grad():
        first = denoisers.family(preset(name).family).predict(model, noisy[:1], times[:1], alone)
    torch.testing.assert_close(first, together[:1], rtol=1e-4, atol=1e-5)


def test_each_condition_is_read(name: str, model: nn.Module) -> None:
    family = preset(name).family
    before = predict(name, model, 3, given(name))
    read = {
        "text": family != "svd",
        "pooled": family == "hunyuan_video",
        "image": family == "svd",
        "fps": family in ("svd", "ltx_video"),
        "guidance": family == "hunyuan_video",
    }
    channels = inputs(name, 1)[0].shape[1]
    other: dict[str, Any] = {
        "text": [states(5, 7), None],
        "pooled": [states(1, 7), states(1, 8)],
        "image": [states(1, 7), None],
        "fps": [30.0, 6.0],
        "guidance": 6.0,
    }
    for what, value in other.items():
        changed = predict(name, model, 3, given(name, **{what: value}))
        for one, two in zip(before, changed, strict=True):
            assert bool((one - two).abs().max() > 1e-6) == read[what], what
    first = torch.ones(2, channels, 8, 8)
    if family in ("svd", "ltx_video"):
        assert (predict(name, model, 3, given(name, first_frame=first)) - before).abs().amax((1, 2, 3, 4)).min() > 1e-4
    else:
        with pytest.raises(ModelError, match="has no input channels for the first frame that it is given"):
            predict(name, model, 3, given(name, first_frame=first))


def test_no_text_is_one_state_of_zeros(name: str, model: nn.Module) -> None:
    zeros = predict(name, model, 3, given(name, text=[torch.zeros(1, 64)] * 2, pooled=[torch.zeros(1, 64)] * 2))
    none = given(name).without_captions([True, True])
    assert torch.equal(predict(name, model, 3, none), zeros)
    half = given(name).without_captions(torch.tensor([False, True]))
    torch.testing.assert_close(predict(name, model, 3, half)[0], predict(name, model, 3, given(name))[0])
    torch.testing.assert_close(predict(name, model, 3, half)[1], zeros[1])


@pytest.mark.parametrize("name", ["cogvideox-tiny", "wan-tiny", "ltx-video-tiny"])
def test_a_text_that_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"65 states, but the model reads 64; see text_encoder\.max_tokens"):
        predict(name, models.build(name, 0), 1, given(name, text=[None, states(65)]))


def test_svd_is_called_as_in_its_pipeline() -> None:
    model = models.build("svd-tiny", 0)
    noisy, times = inputs("svd-tiny", 3)
    first = torch.randn(2, 4, 8, 8)
    conditions = given("svd-tiny", first_frame=first)
    assert isinstance(model, UNetSpatioTemporalConditionModel)
    with torch.no_grad():
        direct = model(
            torch.cat([noisy.transpose(1, 2), first.unsqueeze(1).repeat(1, 3, 1, 1, 1)], dim=2),
            times,
            encoder_hidden_states=torch.stack([states(1, 3), states(1, 4)]),
            added_time_ids=torch.tensor([[11.0, 127.0, 0.0], [6.0, 127.0, 0.0]]),  # fps less one, 7 where unknown
        ).sample.transpose(1, 2)
        assert torch.equal(denoisers.family("svd").predict(model, noisy, times, conditions), direct)
    dropped = denoisers.family("svd").drop(conditions, [True, False])
    assert dropped.of("image")[0] is None and dropped.first_frame is not None
    assert not dropped.first_frame[0].any() and torch.equal(dropped.first_frame[1], first[1])


def test_cogvideox_has_the_positions_of_its_pipeline() -> None:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    model = models.build("cogvideox-tiny", 0)
    noisy, times = inputs("cogvideox-tiny", 3)
    texts = torch.zeros(2, 64, 64)
    texts[0, :5], texts[1, :9] = states(5), states(9, 1)
    # latents of 8x8 are 4x4 patches, which fill the 8x8 patches of the sample size that the model was made for
    rotary = get_3d_rotary_pos_embed(32, ((0, 0), (8, 8)), (4, 4), 3)
    with torch.no_grad():
        direct = model(noisy.transpose(1, 2), texts, times, image_rotary_emb=rotary, return_dict=False)[0]
    assert torch.equal(predict("cogvideox-tiny", model, 3, given("cogvideox-tiny")), direct.transpose(1, 2))


def test_ltx_keeps_a_given_first_frame_whatever_its_weights_are() -> None:
    family, model = denoisers.family("ltx_video"), models.build("ltx-video-tiny", 0)
    data, noise = inputs("ltx-video-tiny", 3)[0], inputs("ltx-video-tiny", 3, 1)[0]
    conditions = given("ltx-video-tiny", first_frame=data[:, :, 0])
    t = torch.tensor([0.9, 0.05]).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        noisy = (1 - t) * data + t * noise
        velocity = family.predict(model, noisy, 1000 * t.flatten(), conditions)
        torch.testing.assert_close(velocity[:, :, :1], (noise - data)[:, :, :1], rtol=1e-3, atol=1e-3)
        # and the noise there is not seen: the frame itself is
        noisy[:, :, 0] = 5.0
        assert torch.equal(family.predict(model, noisy, 1000 * t.flatten(), conditions)[:, :, 1:], velocity[:, :, 1:])


def test_the_conditions_of_a_batch() -> None:
    def batch(frames: int) -> Batch:
        sample = Sample("a", None, {}, "train", "b", "video", 0, "float32", (8, frames, 8, 8), "")
        latents = torch.randn(1, 8, frames, 8, 8)
        return Batch([sample], latents, {"text": [states(3)], "pooled": [None], "image": [states(1)]})

    video, still = batch(3), batch(1)
    made = models.conditions(video, "svd-tiny", "cpu", image_conditioning="first_frame")
    assert torch.equal(made.first_frame, video.latents[:, :4, 0])  # the mean, not scaled
    assert models.conditions(still, "svd-tiny", "cpu", image_conditioning="first_frame").first_frame is None
    assert models.conditions(video, "wan-tiny", "cpu").first_frame is None
    data = torch.randn(1, 16, 3, 8, 8)
    made = models.conditions(video, "wan-tiny", "cpu", data=data, image_conditioning="first_frame")
    assert torch.equal(made.first_frame, data[:, :, 0]) and made.text_tokens == 64
    with pytest.raises(ValueError, match="data"):
        models.conditions(video, "wan-tiny", "cpu", image_conditioning="first_frame")


def test_the_frame_rate_comes_from_the_latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LATENTS", tables.LATENTS.append(pa.field("fps", pa.float64())))
    latents = [
        tables.sample_row(0, (32, 3, 1, 1)) | {"fps": 12.5},
        tables.sample_row(1, (32, 3, 1, 1)) | {"fps": None},
    ]
    members = [tables.member(0, "9x8x8@12.5"), tables.member(1, "9x8x8@12.5")]
    data = tables.opened(tables.write_training_set(tmp_path, latents, members), 16)
    made = models.conditions(data.read(["s001", "s000"]), "ltx-video-tiny", "cpu")
    assert made.fps == [None, 12.5]


def test_a_wrapped_model_is_called_through_its_wrapper() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, *args: Any, **more: Any) -> Any:
            self.calls += 1
            return self.module(*args, **more)

    for name in TINY:
        wrapped = Wrapper(models.build(name, 0))
        assert torch.equal(predict(name, wrapped, 1, given(name)), predict(name, wrapped.module, 1, given(name)))
        assert wrapped.calls == 1, name
