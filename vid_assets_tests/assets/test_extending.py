"""`docs/extending.md` is true: each of its additions is applied to a copy of the tree and used, for what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from vid_assets_tests.extending import additions, apply, copy_tree
from vid_assets_tests.harness import CURATION, Home

#: Addition -> new files, files that are changed, and the lines that are added to these, imports left out.
COSTS = {
    "A metric with a rule": (1, 1, 1),
    "A VAE family": (1, 1, 1),
    "A denoiser": (1, 1, 1),
    "An objective": (1, 1, 1),
    "An asset": (1, 2, 1 + 6),  # its entry, and its table
    "A command": (1, 1, 1),
    "A kind of conditioning": (0, 3, 1 + 1 + 2),
}


def added(hunks: list[list[str]]) -> int:
    """Lines that are more than there were, imports left out: a statement, or a name in one."""
    lines = [line for hunk in hunks for line in hunk if line[:1] == "+"]
    imports = [
        line for line in lines if line[1:].startswith(("from ", "import ")) or line[1:].strip(" ,").isidentifier()
    ]
    return len(lines) - len(imports)


def test_what_each_addition_costs():
    found = {}
    for name, one in additions().items():
        found[name] = (len(one.new), len(one.changed), sum(added(hunks) for hunks in one.changed.values()))
    assert found == COSTS


@pytest.fixture
def grown(tmp_path: Path) -> Callable[[str], Callable[..., str]]:
    """`grown(name)` makes an addition in a copy of the tree, and gives what runs code there and returns its output."""

    def make(name: str) -> Callable[..., str]:
        tree = tmp_path / "tree"
        copy_tree(tree)
        apply(additions()[name], tree)

        def run(begin: str, code: str = "", made: Home | None = None) -> str:
            env = (made.environment() if made else dict(os.environ)) | {"PYTHONPATH": str(tree)}
            command = [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(code)]
            done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return run

    return make


#: For code that runs in the grown tree: takes the only batch of a home through its curation; asset -> rows computed.
CURATE = """
import dagster as dg
from vid_assets.cli import main
from vid_assets.orchestration.assets import build_assets
from vid_assets.project import Project
from vid_assets_tests.harness import CURATION

def curate():
    project, instance = Project.from_environment(), dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("ingest_batch", ["b00001"])
    result = dg.materialize(
        build_assets(project),
        selection=[dg.AssetKey(name) for name in CURATION],
        partition_key="b00001",
        instance=instance,
        resources={"project": project, "pipes": None},
    )
    made = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    computed = {"/".join(one.asset_key.path): one.metadata["misses"].value for one in made}
    return {name: rows for name, rows in computed.items() if rows}
"""


def curated(made: Home) -> None:
    made.scan()
    made.materialize(CURATION, "b00001")


def test_a_metric_with_a_rule(grown, home, put):
    made = home(text_encoder=None)
    put(made, "one.mp4")
    curated(made)
    shown = grown("A metric with a rule")(
        CURATE,
        """
        import pytest
        from vid_assets.curation.metrics import RULES
        from vid_assets.curation.policy import Policy, judge
        from vid_assets.curation.scores import SCORES_VERSION
        from vid_assets.store.tables import StoreError

        assert SCORES_VERSION == "2,decoded_ratio:1,luma_range:1"
        assert [rule.name for rule in RULES][-1] == "luma_range_max"
        assert Policy().luma_range_max == 120.0 and Policy(luma_range_max=None).luma_range_max is None
        assert Policy.model_fields["luma_range_max"].description.startswith("the light does not jump (largest less ")
        with pytest.raises(ValueError):
            Policy(luma_range_max=256)
        off = dict.fromkeys(Policy.model_fields) | {"luma_range_max": 120}
        assert [one.rule for one in judge("video", {"luma_range": 121.0}, Policy(**off))] == ["luma_range_max"]
        assert judge("image", {}, Policy(**off)) == []

        with pytest.raises(StoreError, match="has no luma_range, which this release has.*vid-assets migrate"):
            Project.from_environment().store.read("clip_scores")
        assert main(["migrate"]) == 0
        assert curate() == {"clip_scores": 1, "curated_clips": 1}, "and no file is opened"
        assert curate() == {}
        assert main(["why", "one.mp4"]) == 0
        """,
        made,
    )
    assert shown.startswith("clip_scores: gained luma_range\n")
    assert "luma_range_max" in shown and "<= 120" in shown


def test_a_vae_family(grown):
    grown("A VAE family")("""
        import tempfile
        import numpy as np, torch
        from diffusers import AutoencoderKLMochi
        from model.vaes import FAMILIES, encode_settings, folder_space, latent_space, normalisation
        from model.vaes.backend import decode, encode, load_vae, sample_and_normalise
        from vid_assets.encoding.settings import Bucket, Vae

        torch.manual_seed(0)
        blocks = (32,) * 4
        vae = AutoencoderKLMochi(
            encoder_block_out_channels=blocks, decoder_block_out_channels=blocks, layers_per_block=(1,) * 5
        )
        for name, value in FAMILIES["mochi"].settings.items():
            assert getattr(vae, name) == value, name
        assert Vae(source="x", family="mochi").family == "mochi"
        Bucket.parse("7x32x32@8").check(latent_space("mochi"))
        folder = tempfile.mkdtemp()
        vae.save_pretrained(folder)
        assert folder_space(folder, "mochi").words == "6x8x8 with 12 channels"
        loaded = load_vae(folder, family="mochi")
        frames = np.random.default_rng(0).integers(0, 256, (1, 7, 32, 32, 3), np.uint8)
        moments = encode(loaded, frames, "mochi")
        assert moments.shape == (1, 24, 2, 4, 4)
        how = normalisation(folder, "mochi")
        assert np.allclose(how.shift, vae.config.latents_mean)
        assert np.allclose(how.scale, 1 / np.array(vae.config.latents_std))
        latents = sample_and_normalise(torch.from_numpy(moments), how)
        assert decode(loaded, latents, how, "mochi").shape == frames.shape
    """)


def test_a_denoiser(grown):
    grown("A denoiser")("""
        import tempfile
        from pathlib import Path
        import diffusers, torch
        from model.export import export
        from model.weights import checkpoint_hash
        from vid_assets_tests.unit.model.tables import write_record
        from model.denoisers import FAMILIES
        from model.denoisers.conditions import Conditions
        from model.denoisers.models import build
        from model.memory.case import Case
        from model.memory.plan import plan
        from vid_assets.config.experiments import Experiment

        recipe = Experiment(model="skyreels-tiny")
        assert recipe.objective.model_dump()["shift"] == 8.0
        model = build("skyreels-tiny", 0)
        assert type(model).__name__ == FAMILIES["skyreels"].class_name
        states = {"text": [torch.randn(5, 64), None]}
        given = torch.randn(2, 16, 3, 4, 6)
        out = FAMILIES["skyreels"].predict(model, given, torch.tensor([100.0, 900.0]), Conditions(states, [8.0, 8.0]))
        assert out.shape == given.shape
        usages = plan(Case("skyreels-tiny", (3, 4, 6), samples=1, text_tokens=8, device="cpu", precision="fp32"))
        saved = {one.name: one.saved for one in usages}
        assert saved["block"] < saved["attention"] < saved["none"]
        wide = build("skyreels-tiny", 0, "first_frame")
        assert FAMILIES["skyreels"].takes_first_frame(wide.config) and wide.config["in_channels"] == 36
        folder = Path(tempfile.mkdtemp())
        for part in ("denoiser", "ema"):
            model.save_pretrained(folder / "final" / part)
        told = {"model": "skyreels-tiny", "family": "skyreels", "image_conditioning": "none", "precision": "fp32"}
        told |= {"objective": recipe.objective.model_dump()}
        write_record(folder / "final", recipe=told, weights_hash=checkpoint_hash(folder / "final"))
        made = export(folder / "final", folder / "out")
        assert made.pipeline == "SkyReelsV2Pipeline" and "vae" in made.missing
        again = diffusers.SkyReelsV2Transformer3DModel.from_pretrained(folder / "out", subfolder=made.denoiser)
        assert all(torch.equal(weight, again.get_parameter(name)) for name, weight in model.named_parameters())
    """)


def test_an_objective(grown):
    grown("An objective")("""
        import torch
        from model.objectives import OBJECTIVES, make

        objective = make({"name": "flow_data", "shift": 3.0})
        generator = torch.Generator().manual_seed(0)
        data, noise = (torch.randn(2, 4, 3, 2, 2, generator=generator) for _ in range(2))
        times = objective.sample_times(2, generator, 12)
        assert objective.loss(lambda given, time: data, data, noise, times).abs().max() == 0
        assert objective.loss(lambda given, time: noise, data, noise, times).min() > 0
        made = objective.generate(lambda given, time: data, noise, 8, 12)
        assert torch.allclose(made, data, atol=1e-4)

        from model.denoisers import preset
        from model.export import _pipeline, _scheduler
        from model.recipe import Denoiser
        recipe = {"model": "wan-tiny", "family": "wan", "image_conditioning": "none", "precision": "fp32"}
        told = Denoiser.model_validate(recipe | {"objective": {"name": "flow_data", "shift": 3.0}})
        assert _pipeline(preset("wan-tiny"), told) is None and _scheduler(None, preset("wan-tiny"), told) == {}
        told = Denoiser.model_validate(recipe | {"objective": {"name": "flow_matching", "shift": 3.0}})
        assert _pipeline(preset("wan-tiny"), told) == "WanPipeline"
    """)


def test_an_asset(grown, home, put):
    made = home(text_encoder=None)
    put(made, "one.mp4", caption="three words here")
    put(made, "still.png")
    curated(made)
    grown("An asset")(
        CURATE,
        """
        from vid_assets.assets import assets_of
        from vid_assets.definitions import build_definitions
        from vid_assets.home.removal import remove, removal_of
        from vid_assets.orchestration.launching import steps
        from vid_assets.orchestration.sensor import batch_run
        from vid_assets.reports.staleness import standings

        project = Project.from_environment()
        unfinished = [one.name for one in standings(project, CURATION) if one.condition != "fresh"]
        assert unfinished == ["caption_words[b00001]"]
        assert curate() == {"caption_words": 1} and curate() == {}
        assert [row["words"] for row in project.store.read("caption_words")] == [3]
        specs = {spec.key.to_user_string(): spec for spec in build_definitions(project).resolve_all_asset_specs()}
        assert [dep.asset_key.to_user_string() for dep in specs["caption_words"].deps] == ["captions"]
        assert specs["caption_words"].automation_condition is not None
        assert "caption_words" in batch_run(project.config)
        assert any("caption_words" in step for step in steps(project.config))
        found = removal_of(project, "one.mp4")
        assert found.rows["caption_words"] == 1
        remove(project, found, progress=lambda told: None)
        assert project.store.read("caption_words") == []
        """,
        made,
    )


def test_a_command(grown, home, put):
    made = home()
    put(made, "one.mp4")
    put(made, "still.png")
    made.scan()
    shown = grown("A command")(
        """
        from vid_assets.cli import _parser, main

        assert main(["batches"]) == 0
        print(_parser().format_help())
        """,
        made=made,
    )
    assert shown.startswith("b00001  2 files\n") and "the ingest batches, and how many files each has" in shown


def test_a_kind_of_conditioning(grown):
    grown("A kind of conditioning")("""
        import torch
        from model.data.kinds import KINDS
        from model.denoisers import FAMILIES
        from model.denoisers.conditions import Conditions
        from model.denoisers.models import build
        from types import SimpleNamespace
        from model.memory.case import Case
        from model.memory.plan import plan
        from vid_assets.assets.train.conditioning import COLUMNS, of_sample
        from vid_assets.store.pins import embedding_keys
        from vid_assets.store.schemas import table_spec

        assert "pose_key" in table_spec("training_set_members").schema.names and COLUMNS["pose"] == "pose_key"
        assert embedding_keys({"pose_key": "k"}) == ["k"]
        model, family = build("wan-tiny", 0), FAMILIES["wan"]
        family.check(model, 16, {"pose": 32}, first_frame=False)
        try:
            family.check(model, 16, {"pose": 31}, first_frame=False)
        except Exception as error:
            assert "it reads poses of 32, these have 31" in str(error)
        else:
            raise AssertionError("poses of another size were taken")
        states = {"pose": [torch.zeros(2, 32), None]}
        kept = Conditions(states, [None, None]).without_captions([True, True])
        assert kept.of("pose")[0] is not None and kept.of("text") == [None, None]
        assert of_sample(SimpleNamespace(image_encoder=None, pose_encoder=object())) == {"pose": "poses"}
        assert plan(Case("wan-tiny", (2, 4, 4), text_tokens=8, device="cpu", precision="fp32"))
    """)
