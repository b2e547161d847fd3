"""Checkpoints and evaluations through Dagster: what a change trains again, what is shown, kept and exported.

One home is trained once and then changed, step by step; the tests look at what each step did.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from model.errors import ModelError
from model.manifest import check_train
from vid_assets import cli
from vid_assets.assets.train.manifest import manifest
from vid_assets.assets.train.memory_plan import plan_for
from vid_assets.home.runs import run_named
from vid_assets.reports import lineage
from vid_assets.reports.staleness import standings
from vid_assets_tests.harness import Home, run_asset, work_of

BOTH = ("one", "two")


def trained(*experiments: str, stages: tuple[str, ...] = ("short", "long")) -> set[str]:
    """The checkpoints and evaluations of these experiments."""
    return {f"{what}/{name}[{one}]" for what in ("checkpoint", "evaluation") for name in stages for one in experiments}


@dataclass
class Story:
    """A home, and for each step what it computed, and the metadata and versions after it."""

    home: Home
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    shown: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def train(self, step: str) -> None:
        """Materialize training sets, checkpoints and evaluations, and note what that did."""
        counts = self.home.materialize(["training_set/short", "training_set/long"])
        for experiment in self.home.config["experiments"]:
            chain = [name.partition("[")[0] for name in trained(experiment)]
            counts |= self.home.materialize(chain, experiment)
        self.counts[step] = {name: count for name, count in counts.items() if count}
        self.shown[step], self.versions[step] = copy.deepcopy(self.home.metadata), dict(self.home.versions)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, models: Path, clips: Path) -> Iterator[Story]:
    """Images in stage `short`, videos in stage `long`; one of the videos is held out."""
    stages = [
        {"name": "short", "buckets": ["1x32x48"], "image_share": 1, "steps": 4, "batch_size": 2},
        {"name": "long", "buckets": ["9x32x48@8"], "steps": 3, "batch_size": 2},
    ]
    heldout = {"share": 0.0, "minimum": 1}
    home = Home(tmp_path_factory.mktemp("training"), models, stages=stages, heldout=heldout)
    told = Story(home)

    def put(*names: str) -> None:
        for name in names:
            (home.footage / name).write_bytes((clips / name).read_bytes())
        home.run()

    put("one.mp4", "two.mp4", "still.png")
    told.train("first")
    home.stage("long")["lr"] = 5e-4
    told.train("lr of long")
    home.config["experiments"]["two"] = {"model": "tiny-dit", "seed": 1}
    told.train("another experiment")
    put("three.mp4")
    told.train("a video")
    yield told
    home.instance.dispose()


def changed(told: Story, change: Callable[[dict[str, Any]], Any]) -> Home:
    """The same home with another configuration."""
    home = copy.copy(told.home)
    home.config = copy.deepcopy(told.home.config)
    change(home.config)
    return home


def unsettled(told: Story, change: Callable[[dict[str, Any]], Any]) -> set[str]:
    """What `vid-assets status` would list after a change of the configuration."""
    return {one.name for one in standings(changed(told, change).project) if one.condition != "fresh"}


def stage(name: str, **keys: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: next(one for one in config["stages"] if one["name"] == name).update(keys)


def recipe(**keys: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config["experiments"]["one"].update(keys)


# --- only what changed runs again


def test_the_learning_rate_of_stage_two_leaves_stage_one(story: Story):
    assert set(story.counts["lr of long"]) == trained("one", stages=("long",))
    before, after = story.versions["first"], story.versions["lr of long"]
    assert {name for name in after if before[name] != after[name]} == trained("one", stages=("long",))


def test_another_experiment_does_not_touch_the_first(story: Story):
    assert set(story.counts["another experiment"]) == trained("two")
    before, after = story.versions["lr of long"], story.versions["another experiment"]
    assert {name: after[name] for name in before} == before


def test_new_footage_trains_only_the_stages_whose_buckets_it_reaches(story: Story):
    assert set(story.counts["a video"]) == {"training_set/long"} | trained(*BOTH, stages=("long",))
    before, after = story.versions["another experiment"], story.versions["a video"]
    assert {name for name in before if "/short" in name and before[name] != after[name]} == set()


def test_when_all_is_done_nothing_is_stale(story: Story):
    assert unsettled(story, lambda config: None) == set()


@pytest.mark.parametrize(
    "change",
    [
        stage("short", micro_batch=1, activation="block", checkpoint_every=1),
        lambda config: config.update(train={"processes": 2, "engine": "fsdp2", "keep_last": 5, "validate_every": 2}),
        lambda config: config.update(train={"memory_gb": 80, "dry_run": False, "tensorboard": False}),
        recipe(objective={"name": "flow_matching", "shift": 3.0}, image_conditioning="none"),
        recipe(optimizer={"name": "adamw", "betas": [0.9, 0.999]}),
        stage("short", start_from="raw"),
    ],
    ids=["of a pass", "of processes", "of a run", "defaults said", "optimiser said", "start of the first"],
)
def test_what_changes_no_result_makes_nothing_stale(story: Story, change):
    assert unsettled(story, change) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (recipe(precision="bf16"), trained("one")),
        (recipe(optimizer={"weight_decay": 0.0}), trained("one")),
        (recipe(objective={"shift": 5.0}), trained("one")),
        (stage("long", start_from="raw"), trained(*BOTH, stages=("long",))),
        (stage("long", mix={"9x32x48@8": 2}), trained(*BOTH, stages=("long",))),
        (
            lambda config: config["evaluation"].update(guidance=2.0),
            {name for name in trained(*BOTH) if name.startswith("evaluation")},
        ),
    ],
    ids=["precision", "optimiser", "objective", "start", "mix", "guidance"],
)
def test_what_changes_a_result_makes_its_own_assets_stale(story: Story, change, expected):
    assert unsettled(story, change) == expected


def test_pretrained_weights_enter_by_their_content(story: Story):
    folder = Path(story.home.project.local, story.shown["first"]["checkpoint/short[one]"]["folder"], "ema")
    assert unsettled(story, recipe(weights={"source": str(folder)})) == trained("one")


# --- what is shown


def test_a_checkpoint_shows_how_it_was_trained(story: Story):
    shown = story.shown["another experiment"]["checkpoint/long[one]"]
    assert shown["steps"] == 3
    assert shown["held-out loss at the start"] > 0 and shown["held-out loss"] > 0
    assert shown["samples a second"]["video"] > 0 and shown["peak memory, bytes"] > 0
    assert shown["loss by step"].startswith("![loss by step](data:image/png;base64,")
    assert (
        "| none * |" in shown["memory plan"] and "tiny-dit, bucket 9x32x48@8: 2 x 3x4x6 latents" in shown["memory plan"]
    )
    assert "| WanTransformerBlock | 0 of 4 |" in shown["recomputed in the backward pass"]
    rows = [line.split(" | ")[:2] for line in shown["comparison"].splitlines()[2:]]
    assert rows == [["| one, long", "3"], ["| one, short", "4"]], "the other experiment was not trained then"
    assert len(story.shown["a video"]["checkpoint/long[two]"]["comparison"].splitlines()) == 2 + 3


def test_what_was_not_measured_is_not_made_up(story: Story):
    """No image is held out."""
    shown = story.shown["a video"]["checkpoint/short[one]"]
    assert "held-out loss" not in shown
    evaluated = story.shown["a video"]["evaluation/short[one]"]
    assert (evaluated["held-out loss"], evaluated["motion"], evaluated["moving"]) == (None, None, "stills alone")
    assert evaluated["notes"] == ["no sample of this training set is held out: no held-out loss"]
    assert evaluated["generated and data"].startswith("![")


def test_an_evaluation_shows_what_was_generated_beside_the_data_and_the_stage_before(story: Story):
    shown = story.shown["first"]["evaluation/long[one]"]
    assert shown["generated and data"].startswith("![generated frames beside the data](data:image/jpeg;base64,")
    assert [line.partition(" ![")[0] for line in shown["moving"].split("\n\n")] == [
        "generated 0", "data (heldout)", "short, before",
    ]  # fmt: skip
    assert shown["held-out loss by time"].keys() == {"0.1", "0.3", "0.5", "0.7", "0.9"}
    assert shown["motion, over the data's"] > 0
    before = shown["compared with"]["short"]["held-out loss"]
    started = story.shown["first"]["checkpoint/long[one]"]["held-out loss at the start"]
    assert before > 0 and abs(before / started - 1) < 0.5, "the same weights on the same samples, on other noise"
    assert not shown["notes"]


def test_other_experiments_are_compared_with_from_what_is_stored(story: Story, capsys, monkeypatch):
    lines = story.shown["a video"]["evaluation/long[two]"]["comparison"].splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| two", "| short, before", "| one"]
    assert lines[4].split(" | ")[2].endswith("%"), "on the same samples and noise"
    monkeypatch.setattr(cli.Project, "from_environment", lambda: story.home.project)
    assert cli.main(["compare", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["notes"]) for row in rows] == [("one", []), ("short, before", []), ("two", [])]
    assert rows[2]["against"] == pytest.approx(rows[2]["heldout_loss"] / rows[0]["heldout_loss"] - 1)
    assert cli.main(["compare", "shorter"]) == 2
    assert "shorter: no such stage; there are short, long" in capsys.readouterr().err


def test_what_is_not_on_equal_terms_is_told_and_not_compared(story: Story):
    from vid_assets.assets.train.comparisons import compared

    project = story.home.project
    facts = project.states.read("evaluation/long", "one").facts
    other = facts | {"measured on": "something else", "objective": {"name": "edm"}}
    *_, two = compared(project, "long", "one", other)
    assert two.notes == ("measured on other samples or noise", "another objective") and two.against is None


# --- what a run is told


def runtime(told: Story, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return manifest(work_of(changed(told, change).project, "checkpoint/long", "one"))["runtime"]


def test_a_run_is_told_all_that_the_configuration_decides(story: Story):
    check_train(manifest(work_of(story.home.project, "checkpoint/short", "two")) | {"output": "somewhere"})
    told = runtime(story, lambda config: config.update(train={"processes": 2, "validate_every": 3}))
    assert (told["processes"], told["validate_every"], told["engine"]) == (2, 3, "ddp")


def test_auto_is_the_cheapest_policy_that_fits_and_refused_where_none_does(story: Story):
    work = work_of(story.home.project, "checkpoint/long", "one")
    usages = {one.name: one.peak for one in plan_for(work.folder("plans"), work.runtime["setup"]).usages}

    def policy(memory: float) -> str:
        return runtime(story, lambda config: config.update(train={"memory_gb": memory / 2**30}))["activation"]

    assert runtime(story, lambda config: None)["activation"] == "none", "no memory is declared"
    assert policy(max(usages.values())) == "none"
    with pytest.raises(ModelError, match="What would fit: "):
        policy(min(usages.values()) / 2)
    assert runtime(story, stage("long", activation={"*.ffn": True}))["activation"] == {"*.ffn": True}


def test_memory_that_no_training_fits_stops_no_evaluation(story: Story):
    home = changed(story, lambda config: config.update(train={"memory_gb": 1e-6, "threads": 1}))
    found = run_asset(home.project, "evaluation/long", "one")
    assert found.facts["held-out loss"] == story.shown["a video"]["evaluation/long[one]"]["held-out loss"]


# --- what is kept


def test_every_curve_is_in_the_table_of_metrics(story: Story):
    key = story.shown["a video"]["checkpoint/long[one]"]["run key"]
    rows = story.home.rows("metrics", f"run_key = '{key}'")
    steps = {name: [row["step"] for row in rows if row["name"] == name] for name in {row["name"] for row in rows}}
    assert steps["loss"] == steps["lr"] == [1, 2, 3]
    assert steps["heldout_loss"] == [0, 3]
    assert {"grad_norm", "step_seconds", "samples_per_second", "memory_bytes"} <= steps.keys()
    assert list((story.home.folder / "home" / "checkpoints" / "one" / "long" / key / "tensorboard").iterdir())


def test_the_lineage_of_a_trained_checkpoint_names_its_files_and_what_is_held_out(story: Story):
    project = story.home.project
    found = lineage.forward(project, run_named(project, "long[two]"))
    assert [(one["stage"], one["experiment"]) for one in found["stages"]] == [("long", "two"), ("short", "two")]
    long, short = (
        {Path(one["uris"][0]).name: one for one in stage["training_set"]["sources"]} for stage in found["stages"]
    )
    assert set(long) == {"one.mp4", "two.mp4", "three.mp4"} and set(short) == {"still.png"}
    (heldout,) = [name for name, one in long.items() if "heldout" in one["samples"]]
    assert all(clip["verdict"] == "kept" for one in [*short.values(), *long.values()] for clip in one["clips"])
    runs = lineage.used_by(project, heldout)["checkpoints"]
    assert {(one["stage"], *one["samples"]) for one in runs} == {("long", "heldout")}
    used = lineage.used_by(project, "still.png")["checkpoints"]
    assert {(one["stage"], "through" in one) for one in used} == {("short", False), ("long", True)}


def test_a_checkpoint_is_exported_for_diffusers(story: Story, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(cli.Project, "from_environment", lambda: story.home.project)
    assert cli.main(["export", "long[one]", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert f'WanTransformer3DModel.from_pretrained("{tmp_path}/out", subfolder="transformer")' in said
    assert {"transformer", "scheduler", "vae"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert cli.main(["export", "nothing", str(tmp_path / "other")]) == 2
    assert "nothing: no finished checkpoint is called so" in capsys.readouterr().err


def test_every_policy_of_the_model_can_be_chosen(story: Story):
    from model.memory.activation import POLICIES
    from model.recipe import PolicyName
    from vid_assets.config.curriculum import Stage as Section

    for policy in POLICIES:
        assert Section(name="a", buckets=["5x32x48@8"], steps=1, activation=policy).activation == policy
    assert set(PolicyName.__args__) == set(POLICIES)
