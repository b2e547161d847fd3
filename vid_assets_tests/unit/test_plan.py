"""The memory plan of stages and the command `vid-assets plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.memory.case import GIB, Case, Usage, in_words
from vid_assets import cli
from vid_assets.assets.train import memory_plan as plans
from vid_assets.config.file import parse_config
from vid_assets.project import Project

PEAKS = {"none": 40.0, "diffusers": 20.0, "block": 10.0}


def usage(policy: Any, peak: float, share: float) -> Usage:
    size = int(peak * GIB)
    return Usage(policy, GIB, GIB, 2 * GIB, GIB, size // 2, 0, size, GIB, 0, size, share, [("Block", 1, 2)])


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Case, Any]]:
    """What was planned; the plans themselves are made up, since real ones take seconds."""
    asked: list[tuple[Case, Any]] = []

    def plan(case: Case, policies: Any = None) -> list[Usage]:
        asked.append((case, policies))
        if policies:
            return [usage(policies[0], 15.0, 0.25)]
        return [usage(name, peak, 0.2 * at) for at, (name, peak) in enumerate(PEAKS.items())]

    monkeypatch.setattr("model.memory.plan.plan", plan)
    return asked


@pytest.fixture
def project_of(tmp_path: Path) -> Callable[..., Project]:
    """A project of one stage and one experiment, with what a test changes."""

    def make(stage: dict[str, Any] | None = None, train: dict[str, Any] | None = None) -> Project:
        document = {
            "sources": [{"uri": str(tmp_path)}],
            "vae": {"family": "wan", "source": "here"},
            "text_encoder": {"family": "t5", "source": "there", "max_tokens": 32},
            "stages": [
                {"name": "only", "buckets": ["1x64x64", "9x64x64@8"], "image_share": 0.5, "steps": 5} | (stage or {})
            ],
            "experiments": {"one": {"model": "wan-tiny"}},
            "train": {"device": "cpu"} | (train or {}),
        }
        return Project(parse_config(document), str(tmp_path / "home"))

    return make


def plan_for(project: Project) -> plans.MemoryPlan:
    return plans.plan_for(project.folder("plans"), plans.Setup.of(project.config, "only", "one"))


def policy_for(project: Project) -> str | dict[str, bool]:
    return plans.policy_for(project.folder("plans"), plans.Setup.of(project.config, "only", "one"))


def test_the_largest_pass_of_a_stage_is_planned(project_of, planned):
    found = plan_for(project_of({"batch_size": 6, "micro_batch": 2}))
    assert found.bucket == "9x64x64@8"
    case, _ = planned[0]
    assert (case.preset, case.shape, case.samples, case.text_tokens) == ("wan-tiny", (3, 8, 8), 2, 32)
    assert (case.precision, case.optimizer, case.device, case.accumulates) == ("fp32", "adamw", "cpu", True)
    many = plan_for(project_of({"micro_batch": {"1x64x64": 8, "9x64x64@8": 1}, "batch_size": 8}))
    assert many.bucket == "1x64x64"  # four stills are more than one clip of three latent frames


def test_a_pass_has_no_more_than_the_share_of_its_kind(project_of, planned):
    plan_for(project_of({"batch_size": 4, "image_share": 0.25}))
    plan_for(project_of({"batch_size": 4, "image_share": 0.25, "share_unit": "tokens"}))
    assert [case.samples for case, _ in planned] == [3, 4]


def test_each_process_plans_its_own_share(project_of, planned):
    stage = {"batch_size": 8, "buckets": ["9x64x64@8"], "image_share": 0}
    plan_for(project_of(stage, {"processes": 4, "engine": "fsdp2"}))
    plan_for(project_of(stage, {"processes": 4, "engine": "ddp"}))
    plan_for(project_of(stage, {"processes": 1}))
    assert [(case.samples, case.shards, case.accumulates) for case, _ in planned] == [
        (2, 4, False),
        (2, 1, True),  # its gradients are there from the start
        (8, 1, False),
    ]


def test_auto_takes_the_cheapest_policy_that_fits_and_none_without_a_budget(project_of, planned):
    assert policy_for(project_of()) == "none"
    assert not planned  # nothing is planned where nothing depends on it
    for memory_gb, policy in ((40, "none"), (39.9, "diffusers"), (10, "block")):
        assert policy_for(project_of(train={"memory_gb": memory_gb})) == policy


def test_a_stage_that_fits_under_no_policy_is_refused(project_of, planned, monkeypatch):
    monkeypatch.setattr("model.memory.options.options", lambda *_: ["micro_batch: 1 (4.0 GiB)"])
    from model.memory.options import DoesNotFitError

    with pytest.raises(DoesNotFitError, match=r"10\.0 GiB even with the policy 'block'; 9\.0 .* micro_batch: 1"):
        policy_for(project_of(train={"memory_gb": 9}))
    found = plan_for(project_of(train={"memory_gb": 9}))
    assert found.chosen is None and found.fits is False


def test_a_policy_of_the_users_own_is_kept_and_measured(project_of, planned):
    own = {"WanAttention": True, "blocks.0.*": False}
    project = project_of({"activation": own}, {"memory_gb": 12})
    assert policy_for(project) == own
    found = plan_for(project)
    assert found.usage is not None and found.usage.policy == own and found.fits is False  # 15 GiB, said and not changed
    assert [one.name for one in found.usages] == ["none", "diffusers", found.chosen, "block"]
    assert "WanAttention: true, blocks.0.*: false *" in found.markdown()


def test_a_plan_is_made_once_for_all_that_it_depends_on(project_of, planned):
    plan_for(project_of())
    again = plan_for(project_of(train={"memory_gb": 20}))
    assert len(planned) == 1 and again.chosen == "diffusers"
    plan_for(project_of({"batch_size": 5}))
    assert len(planned) == 2


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, project: Project) -> int:
    monkeypatch.setattr(Project, "from_environment", lambda: project)
    return cli.main(["plan", *arguments])


def test_the_command_plans_stages_and_fails_where_one_does_not_fit(project_of, planned, monkeypatch, capsys):
    assert run([], monkeypatch, project_of()) == 0
    shown = capsys.readouterr().out
    assert "only [one]: wan-tiny, bucket 9x64x64@8" in shown and "none *" in shown
    assert run(["--all-buckets", "--json", "--budget", "20"], monkeypatch, project_of()) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["bucket"], one["chosen"], one["fits"]) for one in records] == [
        ("9x64x64@8", "diffusers", True),
        ("1x64x64", "diffusers", True),
    ]
    monkeypatch.setattr("model.memory.options.options", lambda *_: ["less"])
    assert run(["--budget", "5"], monkeypatch, project_of()) == 1
    assert "5.0 GiB are declared. What would fit: less" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage", "no"], "'no' is no stage; known are only"),
        (["--experiment", "no"], "'no' is no experiment; known are one"),
        (["--preset", "svd"], "--preset and --bucket go together"),
        (["--preset", "swd", "--bucket", "1x64x64"], "'swd' is no model preset"),
        (["--preset", "wan-tiny", "--bucket", "8x64x64"], "the neighbours are 5 and 9"),
        (["--preset", "wan-tiny", "--bucket", "9 frames"], "is no bucket"),
        (["--micro-batch", "2"], "--micro-batch goes with --preset"),
        (["--preset", "wan-tiny", "--bucket", "1x64x64", "--stage", "only"], "leave --stage"),
    ],
)
def test_a_wrong_request_is_refused_in_words(arguments, words, project_of, monkeypatch, capsys):
    assert run(arguments, monkeypatch, project_of()) == 2
    assert words in capsys.readouterr().err


def test_a_preset_is_planned_without_a_stage_for_real(project_of, monkeypatch, capsys):
    arguments = ["--preset", "wan-tiny", "--bucket", "9x64x64", "--micro-batch", "2", "--text-tokens", "8", "--json"]
    assert run(arguments, monkeypatch, project_of()) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["case"]["shape"] == [3, 8, 8] and record["case"]["device"] == "cuda"
    assert [one["policy"] for one in record["policies"]] == ["none", "attention", "diffusers", "block"]
    assert record["policies"][0]["saved"] > record["policies"][-1]["saved"]


def test_sizes_are_told_in_a_unit_that_shows_them():
    assert [in_words(size) for size in (80 * 2**30, 2**29, 30.3 * 2**20)] == ["80.0 GiB", "0.5 GiB", "30.3 MiB"]
