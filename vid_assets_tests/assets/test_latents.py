"""`latents` beyond caching: failed rows, what is shown, the audit, first frames, and `vid-assets stale`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vid_assets.assets.encode import latents as latents_file
from vid_assets.assets.encode.latent_audit import audit_view
from vid_assets.assets.encode.latent_plan import latent_settings, plan_latents
from vid_assets.assets.encode.latent_work import configured_backend
from vid_assets.assets.encode.latents import duration
from vid_assets.assets.encode.stored_latents import stored_latents
from vid_assets.assets.weights import weights_of
from vid_assets.cli import main
from vid_assets.encoding.frames import Task
from vid_assets.encoding.rows import failed_row, from_bytes
from vid_assets.encoding.settings import Encoding
from vid_assets.encoding.vae import LazyVae
from vid_assets.project import Project
from vid_assets.reports.latent_changes import latent_changes
from vid_assets.store.cache import Output
from vid_assets_tests.assets.curated import curate
from vid_assets_tests.harness import Home, checks_of, run_asset, work_of

BATCH = "b00001"
#: Of two clips of 2.5 s and a still: 4 windows of 5 frames at 8/s and 2 of 9 frames each.
VIDEOS, IMAGES = 2 * 6, 1


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory, models: Path, clips: Path) -> Home:
    home = Home(tmp_path_factory.mktemp("curated"), models, encoding={"threads": 1})
    for name in ("one.mp4", "two.mp4", "still.png"):
        shutil.copyfile(clips / name, home.footage / name)
    curate(home.project)
    return home


@pytest.fixture(scope="module")
def encoded(curated: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same with its latents."""
    home = copied(curated, tmp_path_factory.mktemp("encoded"))
    made = checked(home)
    home.facts, home.audit = made.output.facts, made.audit  # type: ignore[attr-defined]
    return home


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Home], Home]:
    return lambda home: copied(home, tmp_path / "copy")


def copied(home: Home, folder: Path) -> Home:
    """A home of its own with what `home` holds, of the same footage."""
    made = Home(folder, home.models)
    made.config = json.loads(json.dumps(home.config))
    shutil.copytree(home.project.home, made.folder / "home", ignore=shutil.ignore_patterns("plans"), dirs_exist_ok=True)
    return made


def latents(project: Project, **options: bool) -> Output:
    return run_asset(project, "latents", BATCH, **options)


class Checked(NamedTuple):
    output: Output
    checks: dict[str, dg.AssetCheckResult]

    @property
    def audit(self) -> dict[str, Any]:
        return {name: value.value for name, value in self.checks["reconstruction"].metadata.items()}


def checked(home: Home, **options: bool) -> Checked:
    """Latents, and what their checks found right after."""
    work = work_of(home.project, "latents", BATCH, **options)
    output = work.asset.run(work)
    return Checked(output, checks_of(work, output))


def checks(project: Project) -> dict[str, dg.AssetCheckResult]:
    """What the checks find of latents that are up to date, as a run does that made nothing."""
    stored = Output("seen before", "seen before", 0)
    return checks_of(work_of(project, "latents", BATCH), stored)


def planned_keys(project: Project) -> list[str]:
    plan = plan_latents(project.store, BATCH, latent_settings(project.config), "weights")
    return [one.parts.sample_id for one in plan.latents]


# --- keys


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 64),
            "flush_rows": st.integers(1, 999),
            "threads": st.none() | st.integers(1, 64),
            "decoders": st.none() | st.integers(1, 64),
            "device": st.sampled_from(["auto", "cpu", "cuda"]),
            "backend": st.sampled_from(["local", "ray"]),
            "audit": st.integers(0, 9),
        }
    )
)
def test_how_the_work_is_cut_and_where_it_is_done_is_in_no_key(curated, how):
    project = curated.project
    other = Project(project.config.model_copy(update={"encoding": Encoding(**how)}), project.home)
    keys = planned_keys(project)
    assert keys == planned_keys(other)
    assert len(set(keys)) == VIDEOS + IMAGES


@pytest.mark.parametrize("change", [{"posterior": "mean"}, {"dtype": "bfloat16"}, {"first_frames": True}])
def test_what_is_stored_is_in_the_key(curated, change):
    project = curated.project
    other = Project(project.config.model_copy(update={"encoding": Encoding(**change)}), project.home)
    before, after = set(planned_keys(project)), set(planned_keys(other))
    assert not before & after if "first_frames" not in change else before < after


# --- what is made and shown


def test_sizes_and_kinds_are_shown(encoded):
    facts = encoded.facts
    assert (facts["windows"], facts["videos"], facts["images"], facts["failed"]) == (VIDEOS + IMAGES, VIDEOS, IMAGES, 0)
    # 5 frames of 32x48: 2 latent frames of 4x6, 16 means and 16 log variances of 2 bytes
    latent, pixels = 32 * 2 * 4 * 6 * 2, 3 * 5 * 32 * 48
    assert facts["sizes"]["5x32x48@8"] == f"{latent:,} bytes a latent, {pixels:,} as pixels: 7.5 times smaller"
    stored = list(stored_latents(encoded.project.store, [row["sample_id"] for row in encoded.rows("samples")]))
    assert facts["bytes"] == sum(len(payload) for _, payload in stored)
    assert {(row["posterior"], row["dtype"]) for row, _ in stored} == {("moments, unscaled", "float16")}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_stored_type_changes_the_bytes_and_not_what_they_mean(curated, encoded, copy, dtype):
    made = copy(curated)
    made.change(encoding={"dtype": dtype, "audit": 0})
    latents(made.project)

    def values(home: Home) -> dict[str, np.ndarray]:
        names = {row["sample_id"]: row["row_id"] for row in home.rows("samples")}
        found = stored_latents(home.project.store, names)
        return {names[row["sample_id"]]: from_bytes(data, row["dtype"], row["shape"]) for row, data in found}

    half, other = values(encoded), values(made)
    assert half.keys() == other.keys()
    for name, latent in half.items():
        assert np.allclose(latent, other[name], rtol=2**-8 if dtype == "bfloat16" else 2**-10, atol=1e-4)


def test_the_first_frame_of_each_clip_is_an_image_sample(curated, copy):
    made = copy(curated)
    made.change(encoding={"first_frames": True, "audit": 0})
    latents(made.project)
    samples = made.rows("samples")
    assert len({row["row_id"] for row in samples}) == len(samples) == VIDEOS + IMAGES + 2
    images = {row["clip_id"]: row["sample_id"] for row in samples if row["kind"] == "image"}
    starts = {row["clip_id"]: row["start_s"] for row in made.rows("clips")}
    rows = {row["sample_id"]: row for row, _ in stored_latents(made.project.store, images.values())}
    for clip_id, sample_id in images.items():
        assert (rows[sample_id]["frames"], rows[sample_id]["start_s"]) == (1, starts[clip_id])


class Failing:
    """In place of the configured backend: fails the windows of some buckets, and may stop altogether."""

    def __init__(self, bad: set[int], stop_after: int | None = None) -> None:
        self.bad, self.stop_after, self.asked = bad, stop_after, 0

    def __call__(self, encoding: Encoding, vae: LazyVae) -> Failing:
        self.backend = configured_backend(encoding, vae)
        return self

    def batches(self, tasks: list[Task]) -> Iterator[list[dict[str, Any]]]:
        self.asked = len(tasks)
        good = [task for task in tasks if task.parts.frames not in self.bad]
        for number, rows in enumerate(self.backend.batches(good)):
            if number == self.stop_after:
                raise OSError("the disk is full")
            yield rows
        yield [failed_row(task.parts, "the VAE failed: no luck") for task in tasks if task not in good]


def test_failed_rows_are_counted_with_their_reason_and_tried_again_alone(curated, copy, monkeypatch):
    made = copy(curated)
    monkeypatch.setattr(latents_file, "configured_backend", Failing({9}))
    output, found = checked(made)
    assert output.retry and output.facts["failed"] == 4
    assert output.facts["failures by reason"] == {"the VAE failed: no luck": 4}
    assert "9x32x48@8" not in output.facts["sizes"]
    assert all(one.passed for one in found.values()), "a failed row is no damage"
    backend = Failing(set())
    monkeypatch.setattr(latents_file, "configured_backend", backend)
    output = latents(made.project)
    assert (backend.asked, output.computed, output.facts["failed"], output.retry) == (4, 4, 0, False)


def test_what_was_encoded_before_an_error_is_kept(curated, copy, monkeypatch):
    made = copy(curated)
    made.change(encoding={"flush_rows": 100, "batch_size": 2})
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk is full"):
        patched.setattr(latents_file, "configured_backend", Failing(set(), stop_after=3))
        latents(made.project)
    kept = len(made.rows("latents"))
    assert 3 <= kept <= 6
    assert latents(made.project).computed == VIDEOS + IMAGES - kept


def test_progress_has_a_rate_and_the_time_left(curated, copy):
    made, said = copy(curated), []
    made.change(encoding={"flush_rows": 4, "audit": 0})
    work = work_of(made.project, "latents", BATCH)
    work.progress = said.append
    work.asset.run(work)
    assert len(said) >= 3
    assert said[-1].startswith("encoded 13 of 13 latents, ") and said[-1].endswith("/s, 0 s left")
    assert [duration(s) for s in (12, 600, 7260)] == ["12 s", "10 min", "2 h 01 min"]


# --- the audit


def test_the_audit_compares_with_the_source_and_draws_it(encoded):
    audit = encoded.audit
    assert audit["latents"] == 4 and 8 < audit["lowest psnr"] <= audit["median psnr"] < 60
    assert "before" not in audit
    folder = encoded.project.folder("views", "audit")
    (picture,) = audit_view(folder, BATCH).values()
    assert picture.startswith("![b00001](data:image/jpeg;base64,")
    record = json.loads((folder / f"{BATCH}.json").read_text())
    buckets = {name.rpartition("/")[2] for name in record}
    assert buckets == {"1x32x48", "5x32x48@8", "9x32x48@8"}, "of every bucket"
    assert checks(encoded.project)["reconstruction"].passed


def test_nothing_is_decoded_again_while_the_audited_latents_stay(encoded, copy, monkeypatch):
    made = copy(encoded)
    decoded = []
    decode = LazyVae.decode
    monkeypatch.setattr(LazyVae, "decode", lambda self, latent: decoded.append(1) or decode(self, latent))
    again = checked(made)
    assert again.output.computed == 0 and again.audit == encoded.audit
    assert not decoded
    checked(made, force=True)
    assert len(decoded) == 4, "latents that were made again are audited again"


def test_a_drop_of_psnr_in_the_same_windows_is_a_warning_that_stops_nothing(encoded, copy):
    made = copy(encoded)
    record = made.project.folder("views", "audit") / f"{BATCH}.json"
    better = {
        name: entry | {"sample_id": "with other weights", "psnr": entry["psnr"] + 3}
        for name, entry in json.loads(record.read_text()).items()
    }
    record.write_text(json.dumps(better))
    found = checked(made)
    assert found.audit["changed"] == 4
    check = found.checks["reconstruction"]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert "4 of these windows went from" in check.description and "psnr_drop_max" in check.description
    made.change(encoding={"psnr_drop_max": 5})
    assert checks(made.project)["reconstruction"].passed


def test_a_floor_for_psnr_can_be_set(encoded, copy):
    made = copy(encoded)
    made.change(encoding={"psnr_min": 60})
    check = checks(made.project)["reconstruction"]
    assert not check.passed and "psnr_min asks for 60 dB" in check.description


def test_a_vae_that_cannot_decode_is_told_and_fails_no_encode(curated, copy, monkeypatch):
    def broken(self: LazyVae, latent: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(LazyVae, "decode", broken)
    made = copy(curated)
    found = checked(made)
    assert found.output.facts["failed"] == 0 and len(found.audit["not audited"]) == 4
    check = found.checks["reconstruction"]
    assert not check.passed and "out of memory" in check.description


# --- blocking checks


def spoil(home: Home, **columns: Any) -> None:
    """Overwrite columns of one stored latent, its bytes too if they are among them."""
    row, payload = next(iter(stored_latents(home.project.store, [home.rows("samples")[0]["sample_id"]])))
    home.project.store.insert_absent("latents", [row | {"latent": payload} | columns], replace_where="true")


@pytest.mark.parametrize(
    ("check", "columns"),
    [
        ("latents_shaped", {"shape": [16, 2, 4, 6]}),
        ("latents_shaped", {"dtype": "float32"}),
        ("latents_finite", {"checksum": "0" * 64}),
        ("latents_finite", {"latent": b"short"}),
    ],
)
def test_a_stored_latent_that_is_not_what_it_says_stops_what_is_downstream(encoded, copy, check, columns):
    made = copy(encoded)
    spoil(made, **columns)
    found = checks(made.project)[check]
    assert not found.passed and found.severity == dg.AssetCheckSeverity.ERROR
    assert "1 latents are wrong" in found.description


# --- stale


def groups(home: Home) -> dict[str, int]:
    return dict(latent_changes(home.project).groups)


def test_stale_before_anything_was_encoded_and_after(curated, encoded):
    assert groups(curated) == {"new footage": VIDEOS + IMAGES}
    assert groups(encoded) == {}
    assert latent_changes(encoded.project).planned == VIDEOS + IMAGES


def test_stale_before_anything_ran_at_all(tmp_path, models):
    found = latent_changes(Home(tmp_path / "empty", models).project)
    assert (found.planned, found.rows) == (0, [])
    assert any("source_files is missing" in line for line in found.unsettled)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"vae": {"dtype": "bfloat16"}}, {"VAE dtype (float32 -> bfloat16)": 13}),
        ({"vae": {"tiling": True}}, {"VAE use_tiling (False -> True)": 13}),
        ({"encoding": {"posterior": "mean"}}, {"posterior (moments, unscaled -> mean, unscaled)": 13}),
        (
            {"encoding": {"dtype": "float32"}, "vae": {"dtype": "float16"}},
            {"VAE dtype (float32 -> float16), stored dtype (float16 -> float32)": 13},
        ),
        ({"windows": {"motion_share_min": None}}, {}),
    ],
    ids=["dtype", "tiling", "posterior", "two", "none"],
)
def test_stale_names_what_changed(encoded, copy, change, expected):
    made = copy(encoded)
    made.change(**change)
    assert groups(made) == expected


def test_stale_tells_a_bucket_a_failure_and_other_weights_apart(encoded, copy, tmp_path):
    from model.tiny.models import save_tiny_vae

    made = copy(encoded)
    made.stage("long")["buckets"] = ["9x32x48@8", "13x32x48@8"]
    assert groups(made) == {"new bucket 13x32x48@8": 2}
    spoil(made, status="failed", error="out of memory", latent=None)
    assert groups(made) == {"new bucket 13x32x48@8": 2, "it failed: out of memory": 1}
    made.change(vae={"source": str(save_tiny_vae(tmp_path / "other", seed=1))})
    old, new = (weights_of(home.project.local, home.project.config.vae).hash[:8] for home in (encoded, made))
    assert groups(made) == {f"VAE weights ({old} -> {new})": 13, "new bucket 13x32x48@8": 2}


def test_stale_on_the_command_line(encoded, copy, monkeypatch, capsys):
    made = copy(encoded)
    made.change(vae={"dtype": "bfloat16"})
    monkeypatch.setattr("vid_assets.cli.Project", SimpleNamespace(from_environment=lambda: made.project))
    assert main(["stale", "--rows"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "13 of 13: VAE dtype (float32 -> bfloat16)"
    assert sum("b00001" in line and "5x32x48@8" in line for line in lines) == 8
    assert main(["stale", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["planned"], found["stale"]) == (13, 13)
    assert found["groups"] == [{"reason": "VAE dtype (float32 -> bfloat16)", "latents": 13}]
