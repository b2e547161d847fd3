"""The folder of a finished checkpoint: its weights, what it was made of, and how it went.

`denoiser/` (raw weights) and `ema/` (their average) are whole models that `from_pretrained` loads; where adapters were
trained, these lie in `denoiser_lora/` and `ema_lora/` as well. `checkpoint.json` names recipe, code version, training
set, VAE and parent; `curves.json` holds the curves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from model import checkpoint
from model.compute.ranks import ALONE, Ranks
from model.denoisers import family, lora
from model.manifest import TRAIN_CODE_VERSION, Manifest, identity
from model.training.ema import Ema
from model.training.parallel import Shared
from model.training.run_state import gathered, refuse_other_run, save_model, writing
from model.training.start import initial_model
from model.weights import checkpoint_hash


def save_final(
    manifest: Manifest,
    shared: Shared,
    ema: Ema,
    ranks: Ranks,
    facts: dict[str, Any],
    curves: dict[str, list[list[float]]],
) -> dict[str, Any]:
    """Write `final` as one atomic folder; every process must call this, the first one writes.

    Args:
        facts: how the run went, for the summary.
        curves: {metric: [[step, value], ...]}.

    Returns:
        The summary: `facts`, weights_hash (empty but in the first process), folder and parameters.
    """
    final = Path(manifest.output) / "final"
    summary = {
        **facts,
        "weights_hash": "",
        "folder": str(final),
        "parameters": sum(weight.numel() for weight in shared.model.parameters()),
        "trained_parameters": sum(weight.numel() for weight in shared.trainable().values()),
    }
    with writing(final), checkpoint.atomic_folder(final) if ranks.first else contextlib.nullcontext(final) as folder:
        _save_weights(manifest, shared, folder / "denoiser", ranks)
        with ema.swapped():
            _save_weights(manifest, shared, folder / "ema", ranks)
        if not ranks.first:
            return summary
        summary["weights_hash"] = checkpoint_hash(folder)
        checkpoint.Record(
            identity=identity(manifest.document()),
            experiment=manifest.experiment,
            stage=manifest.stage,
            recipe=manifest.recipe.model_dump(mode="json", exclude_unset=True),
            runtime=manifest.runtime.model_dump(mode="json"),
            code_version=manifest.code_version,
            train_code_version=TRAIN_CODE_VERSION,
            training_set_digest=manifest.training_set.digest,
            latents_version=manifest.training_set.latents_version,
            vae_weights_hash=manifest.vae.weights_hash,
            parent=manifest.parent,
            weights_hash=summary["weights_hash"],
            summary=summary,
        ).write(folder)
        checkpoint.write_json(folder / "curves.json", curves)
    return summary


def finished_before(manifest: Manifest, final: Path) -> dict[str, Any]:
    """The summary of a run that is finished. Raises `OtherRunError` where it is another one than the manifest's."""
    record = checkpoint.read_record(final)
    refuse_other_run(identity(manifest.document()), record.identity, final)
    return {**record.summary, "folder": str(final)}


def _save_weights(manifest: Manifest, shared: Shared, folder: Path, ranks: Ranks) -> None:
    """Write a whole model; adapters are merged into a new copy of the weights that they adapt, and kept beside them."""
    if manifest.recipe.lora is None:
        save_model(shared.model, folder, ranks)
        return
    adapters = gathered(shared.trainable())
    if ranks.first:
        model = initial_model(manifest)
        model.load_state_dict(adapters, strict=False)
        lora.save(model, folder.with_name(f"{folder.name}_lora"), family(manifest.recipe.family).part)
        lora.merge(model)
        save_model(model, folder, ALONE)
