"""Which source decides what each asset makes, and the record that a test holds it against.

An asset's code version is bumped by hand, beside the algorithm. This module knows which source is the algorithm of
which asset, hashes it without comments, docstrings and formatting, and compares it with the record in
`unit/code_versions.json`. After a change that alters results, bump the version and record it:

    python -m vid_assets_tests.record_code_versions

After one that alters none (a rename, a type, a message), say so, and the version stays:

    python -m vid_assets_tests.record_code_versions --same-output ASSET [ASSET ...]
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).parent / "unit" / "code_versions.json"


def _files(package: str) -> tuple[str, ...]:
    """All files of a package."""
    return tuple(sorted(str(path.relative_to(REPO)) for path in (REPO / package).glob("*.py")))


#: Asset -> the source that is its algorithm: files, or the top-level definitions `FILE::NAME,NAME` of a file that
#: several assets share. Those of the chain stand for all stages.
COVERED: dict[str, tuple[str, ...]] = {
    "source_files": (
        "vid_assets/footage/listing.py",
        "vid_assets/footage/membership.py",
        "vid_assets/footage/sidecars.py",
        "vid_assets/assets/ingest/source_files.py",
    ),
    "raw_videos": (
        "vid_assets/footage/clock.py",
        "vid_assets/footage/identity.py",
        "vid_assets/footage/probe.py",
        "vid_assets/footage/reader.py",
        "vid_assets/footage/geometry.py",
        "vid_assets/footage/shown.py",
        "vid_assets/footage/stills.py",
        "vid_assets/assets/ingest/raw_videos.py",
    ),
    "frame_stats": (
        "vid_assets/curation/groups.py",
        "vid_assets/curation/hashing.py",
        "vid_assets/curation/lanes.py",
        "vid_assets/curation/measures/base.py",
        "vid_assets/curation/measures/change.py",
        "vid_assets/curation/measures/light.py",
        "vid_assets/curation/measures/looks.py",
        "vid_assets/curation/measures/motion.py",
        "vid_assets/curation/measures/transnet.py",
        "vid_assets/curation/miniatures.py",
        "vid_assets/curation/picture.py",
        "vid_assets/curation/statistics.py",
        "vid_assets/curation/transnet.py::WIDTH,HEIGHT,_WINDOW,_STEP,_MARGIN,Predictor",
        "vid_assets/footage/checksums.py",
        "vid_assets/footage/clock.py",
        "vid_assets/footage/reader.py",
        "vid_assets/footage/geometry.py",
        "vid_assets/footage/shown.py",
        "vid_assets/footage/stills.py",
        "vid_assets/assets/curate/frame_stats.py::frame_stats,_stream,_stats_row",
    ),
    "clips": (
        "vid_assets/curation/cuts.py",
        "vid_assets/curation/miniatures.py",
        "vid_assets/curation/shots.py",
        "vid_assets/curation/transitions.py",
        "vid_assets/curation/transnet.py::boundaries,_CUT_FRAMES",
        "vid_assets/assets/curate/clips.py",
        "vid_assets/assets/curate/stored_stats.py::read_stats,stats_versions",
    ),
    "clip_scores": (
        *_files("vid_assets/curation/metrics"),
        "vid_assets/curation/hashing.py",
        "vid_assets/curation/letterbox.py",
        "vid_assets/curation/scores.py",
        "vid_assets/curation/cuts.py",
        "vid_assets/curation/miniatures.py",
        "vid_assets/curation/shots.py::standard_cuts,frame_edges,_STANDARD",
        "vid_assets/curation/tracks.py::HASH_RATE,sample,_hash",
        "vid_assets/curation/continuity.py",
        "vid_assets/curation/source_arrays.py",
        "vid_assets/curation/clip_arrays.py",
        "vid_assets/curation/transitions.py",
        "vid_assets/assets/curate/clip_scores.py",
        "vid_assets/assets/curate/stored_stats.py::read_stats,stats_versions",
    ),
    "curated_clips": (
        "vid_assets/curation/policy.py",
        "vid_assets/curation/metrics/base.py::Rule,Metric",
        "vid_assets/assets/curate/curated_clips.py",
    ),
    "duplicates": (
        "vid_assets/curation/duplicates.py",
        "vid_assets/curation/hash_index.py",
        "vid_assets/curation/tracks.py",
        "vid_assets/assets/curate/duplicates.py::duplicates,losers,_candidates,_candidate",
    ),
    "captions": ("vid_assets/footage/sidecars.py", "vid_assets/assets/encode/captions.py"),
    "text_embeddings": (
        "model/encoders/text.py",
        "vid_assets/assets/encode/embeddings.py",
        "vid_assets/assets/encode/text_embeddings.py",
    ),
    "image_embeddings": (
        "model/encoders/image.py",
        "vid_assets/encoding/content_key.py::transform_name,shown_as,clock_digest",
        "vid_assets/encoding/frames.py",
        "vid_assets/encoding/transform.py",
        "vid_assets/assets/encode/embeddings.py",
        "vid_assets/assets/encode/image_embeddings.py",
    ),
    "vae": ("model/weights.py", "vid_assets/assets/encode/vae.py"),
    "latents": (
        *_files("model/vaes"),
        "vid_assets/encoding/content_key.py",
        "vid_assets/encoding/backend.py",
        "vid_assets/encoding/frames.py",
        "vid_assets/encoding/rows.py",
        "vid_assets/encoding/vae.py",
        "vid_assets/encoding/transform.py",
        "vid_assets/encoding/windows.py",
        "vid_assets/footage/clock.py",
        "vid_assets/footage/decode.py",
        "vid_assets/footage/reader.py",
        "vid_assets/footage/geometry.py",
        "vid_assets/footage/shown.py",
        "vid_assets/footage/stills.py",
        "vid_assets/assets/encode/latent_plan.py",
        "vid_assets/assets/encode/latent_work.py::tasks_of",
        "vid_assets/assets/encode/latents.py::latents,encode_missing,_sync_samples,_digests",
    ),
    "training_set": ("vid_assets/assets/train/conditioning.py", "vid_assets/assets/train/training_set.py"),
    "checkpoint": (
        "model/data/training_set.py",
        *_files("model/denoisers"),
        "model/data/loader.py",
        "model/manifest.py",
        *_files("model/objectives"),
        "model/data/kinds.py",
        "model/data/order.py",
        "model/compute/numerics.py",
        "model/data/states.py",
        "model/training/ema.py",
        "model/training/optimizers.py",
        "model/training/passes.py",
        "model/training/start.py",
        "model/training/step.py",
        "model/training/trainer.py",
        *_files("model/vaes"),
        "vid_assets/assets/train/manifest.py",
    ),
    "evaluation": (
        *_files("model/denoisers"),
        "model/evaluation/evaluate.py",
        "model/evaluation/heldout.py",
        "model/evaluation/motion.py",
        *_files("model/objectives"),
        "model/evaluation/sampling.py",
        "model/compute/numerics.py",
        "model/evaluation/video_files.py",
        "vid_assets/assets/train/evaluation.py",
    ),
}
_TINY = "made the weights of the tiny VAE, which are known by their own hash"
#: Files of the covered packages that decide no result, and why.
EXEMPT = {
    "model/data/blobs.py": "where bytes lie; what is read is checked by its checksum",
    "model/checkpoint.py": "how a run's state is kept; a resumed run equals an undisturbed one",
    "model/errors.py": "messages",
    "model/export.py": "written for other programs",
    "model/memory/activation.py": "computes again what would be kept; gradients are equal bit for bit",
    "model/memory/case.py": "a prediction for people",
    "model/memory/options.py": "a prediction for people",
    "model/memory/plan.py": "a prediction for people",
    "model/memory/tracker.py": "a prediction for people",
    "model/tiny/models.py": "makes demo weights, which are known by their own hash",
    "model/tiny/vae_training/__main__.py": _TINY,
    "model/tiny/vae_training/card.py": _TINY,
    "model/tiny/vae_training/footage.py": _TINY,
    "model/tiny/vae_training/linear_code.py": _TINY,
    "model/tiny/vae_training/linear_path.py": _TINY,
    "model/tiny/vae_training/rendered.py": _TINY,
    "model/tiny/vae_training/training.py": _TINY,
    "model/compute/ranks.py": "what processes tell each other; they learn what one would",
    "model/recipe.py": "values enter fingerprints and manifests",
    "model/train.py": "starts and stops a run",
    "model/training/dry_run.py": "tries passes, and leaves no trace",
    "model/training/finish.py": "how a run's weights are kept",
    "model/training/launch.py": "starts and watches processes",
    "model/training/parallel.py": "shares a run among processes; they learn what one would",
    "model/training/reporting.py": "what people hear of a run",
    "model/training/run_state.py": "how a run's state is kept; a resumed run equals an undisturbed one",
    "vid_assets/assets/asset.py": "what an asset is; what it declares enters fingerprints",
    "vid_assets/assets/facts.py": "what people hear of an output",
    "vid_assets/assets/queries.py": "what is there; what is taken of it enters fingerprints",
    "vid_assets/assets/slices.py": "enters fingerprints",
    "vid_assets/assets/weights.py": "enters fingerprints and keys",
    "vid_assets/curation/settings.py": "values enter fingerprints",
    "vid_assets/encoding/settings.py": "values enter fingerprints and keys",
    "vid_assets/footage/settings.py": "values enter fingerprints",
    "vid_assets/curation/calibration.py": "proposals for people",
    "vid_assets/curation/nearest.py": "shown to people who judge the limit",
    "vid_assets/curation/tuning.py": "a prediction for people",
    "vid_assets/encoding/ray_backend.py": "does elsewhere what the local backend does",
    "vid_assets/encoding/threads.py": "does in threads what would give the same without",
    "vid_assets/footage/heartbeat.py": "tells that a read goes on",
    "vid_assets/footage/isolation.py": "runs a read elsewhere; gives its values as they are",
    "vid_assets/footage/opening.py": "refuses a file that changed since it was hashed; gives no value",
    "vid_assets/footage/worker.py": "runs a read elsewhere; gives its values as they are",
    "vid_assets/assets/train/checkpoint.py": "starts a run and reads what it left",
    "vid_assets/assets/train/comparisons.py": "shown to people",
    "vid_assets/assets/curate/views.py": "pictures for people",
    "vid_assets/assets/train/memory_plan.py": "chooses what is computed again; gradients are equal bit for bit",
    "vid_assets/assets/encode/latent_audit.py": "shown to people; a check that warns",
    "vid_assets/assets/encode/latent_checks.py": "finds what a check judges",
    "vid_assets/assets/encode/stored_latents.py": "reads back; latents have checksums",
    "vid_assets/assets/train/facts.py": "what people hear of an output",
    "vid_assets/assets/train/names.py": "names",
    "vid_assets/assets/train/views.py": "pictures for people",
}
_PACKAGES = ("model", "vid_assets/footage", "vid_assets/curation", "vid_assets/encoding", "vid_assets/assets")


def code_hash(sources: Sequence[str], root: Path = REPO) -> str:
    """SHA-256 (hex, shortened) of the syntax trees of `sources`, without comments, docstrings and formatting."""
    parts = []
    for source in sources:
        path, _, names = source.partition("::")
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        body = tree.body
        if names:
            defined = {name: node for node in body for name in _defined(node)}
            missing = set(names.split(",")) - set(defined)
            if missing:
                raise SystemExit(f"{path} does not define {', '.join(sorted(missing))}; correct COVERED in {__file__}")
            body = [defined[name] for name in names.split(",")]
        parts.append([path, [_plain(node) for node in body if not (_is_docstring(node) or _declares(node))]])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _declares(node: ast.stmt) -> bool:
    """Whether it is an asset's declaration: what that names enters fingerprints, which are compared themselves."""
    return any(name == "ASSET" or name.endswith("_asset") for name in _defined(node))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _plain(value: Any) -> Any:
    """A syntax tree as JSON, equal for equal code in all versions of Python: no positions, no empty fields."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_docstring(item)]
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = {
        name: _plain(found)
        for name, found in ast.iter_fields(value)
        if name not in ("ctx", "kind", "type_comment") and found is not None and found != []
    }
    return [type(value).__name__, fields]


def versions() -> dict[str, str]:
    """The present code version of each asset, of every stage's chain under one name."""
    from vid_assets.assets import assets_of
    from vid_assets.config.file import parse_config
    from vid_assets_tests.harness import CONFIG

    config = parse_config(CONFIG | {"sources": [{"uri": "footage"}], "image_encoder": {"source": "clip"}}, base=REPO)
    return {name.partition("/")[0]: asset.code_version for name, asset in assets_of(config).items()}


def current(root: Path = REPO, of_assets: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """What the record would be now: asset -> version and hash of its source."""
    found = of_assets or versions()
    return {name: {"version": found[name], "code": code_hash(sources, root)} for name, sources in COVERED.items()}


def problems(recorded: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Asset -> why the record does not fit the source; `unbumped` where results may change under an old version."""
    found = {}
    for name in sorted(set(recorded) | set(now)):
        old, new = recorded.get(name), now.get(name)
        if old == new:
            continue
        if old is None or new is None:
            found[name] = f"{name}: the record and COVERED do not name the same assets; record it"
        elif old["version"] == new["version"]:
            found[name] = (
                f"{name}: unbumped: its source changed, but its version is still {old['version']!r}. If results "
                f"change, bump the constant of its `code_version` and record it; if they do not, record it with "
                f"--same-output {name}. Its source: {', '.join(COVERED[name])}"
            )
        else:
            found[name] = f"{name}: its version went from {old['version']!r} to {new['version']!r}; record it"
    return found


def uncovered(root: Path = REPO) -> list[str]:
    """Files of the covered packages that are neither covered nor exempt."""
    known = {source.partition("::")[0] for sources in COVERED.values() for source in sources} | set(EXEMPT)
    files = {str(path.relative_to(root)) for package in _PACKAGES for path in (root / package).rglob("*.py")}
    # an __init__.py is covered where it is more than a docstring
    return sorted(name for name in files ^ known if not (name in files and name.endswith("__init__.py")))


def main(
    arguments: Sequence[str] | None = None, record: Path = RECORD, now: Mapping[str, Mapping[str, str]] | None = None
) -> int:
    """Record the present versions and hashes; returns 1 where a version should have been bumped."""
    parser = argparse.ArgumentParser(prog="python -m vid_assets_tests.record_code_versions")
    parser.add_argument(
        "--same-output",
        nargs="+",
        default=[],
        choices=["all", *sorted(COVERED)],
        metavar="ASSET",
        help="assets whose results the change does not alter",
    )
    options = parser.parse_args(arguments)
    now = now or current()
    recorded = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    found = problems(recorded, now)
    same = set(COVERED) if "all" in options.same_output else set(options.same_output)
    refused = [text for name, text in found.items() if "unbumped" in text and name not in same]
    if refused:
        print("\n".join(["nothing was recorded:", *refused]), file=sys.stderr)
        return 1
    record.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print("\n".join(f"recorded {name}" for name in found) or "nothing had changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
