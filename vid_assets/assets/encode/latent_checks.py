"""The checks of a batch's latents: they are read back, and some are decoded and held against their source."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from model.vaes import folder_space
from vid_assets.assets.asset import Check, Finding, Work
from vid_assets.assets.encode.latent_audit import Audit, audit
from vid_assets.assets.encode.latent_plan import plan_latents
from vid_assets.assets.encode.latent_work import lazy_vae
from vid_assets.assets.encode.stored_latents import statuses, stored, stored_latents
from vid_assets.assets.weights import weights_of
from vid_assets.digests import SHOWN, digest
from vid_assets.encoding.rows import from_bytes
from vid_assets.store.cache import Output
from vid_assets.store.memo import recall, remember
from vid_assets.store.tables import Store

#: Bumped by hand when an audit looks at more: each batch is audited once more.
_AUDIT_VERSION = "2"
#: Latents that are read back.
_READ_BACK = 16


def _keys(work: Work) -> list[str]:
    """The content key of each window of the batch that is listed as a sample."""
    return [row["sample_id"] for row in work.store.read("samples", work.here, ["sample_id"])]


def _rows_equal_windows(work: Work, output: Output) -> Finding:
    keys = _keys(work)
    rows = len(statuses(work.store, keys))
    return Finding(len(keys) == rows, f"{rows} latents for {len(keys)} windows of kept clips")


def _keys_unique(work: Work, output: Output) -> Finding:
    keys = _keys(work)
    unique = len(set(keys))
    return Finding(len(keys) == unique, f"{unique} different keys for {len(keys)} windows")


def _latents_shaped(work: Work, output: Output) -> Finding:
    return _all_right(misshapen(work, _keys(work)), "every latent has the shape and type of its bucket")


def _latents_finite(work: Work, output: Output) -> Finding:
    broken = damaged(work.store, _keys(work), _READ_BACK)
    return _all_right(broken, "what was read back is finite and has its checksum")


def _all_right(problems: Sequence[str], words: str) -> Finding:
    return Finding(not problems, f"{len(problems)} latents are wrong: {problems[0]}" if problems else words)


def misshapen(work: Work, sample_ids: list[str]) -> list[str]:
    """In words, the stored latents whose shape or type is not what their own key says, failed ones left out."""
    dtype = work.config["encoding"].dtype
    space = folder_space(weights_of(work.local, work.runtime["weights"]).folder, work.config["vae"].family)
    columns = ["status", "shape", "dtype", "posterior", "frames", "height", "width"]
    found = []
    for sample_id, row in sorted(stored(work.store, sample_ids, columns).items()):
        if row["status"] != "ok":
            continue
        channels, *size = space.latent_shape(row["frames"], row["height"], row["width"])
        expected = [channels * (2 if row["posterior"].startswith("moments") else 1), *size]
        if row["shape"] != expected or row["dtype"] != dtype:
            wanted = f"{dtype} {expected}"
            found.append(f"{sample_id[:SHOWN]} is {row['dtype']} {row['shape']}, not {wanted}")
    return found


def damaged(store: Store, sample_ids: list[str], count: int) -> list[str]:
    """Read up to `count` of the latents back; in words, those whose bytes are not what was written, or not finite."""
    keys = sorted(set(sample_ids))
    found = []
    for row, payload in stored_latents(store, keys[:: max(1, len(keys) // count)][:count]):
        name = row["sample_id"][:SHOWN]
        if hashlib.sha256(payload).hexdigest() != row["checksum"]:
            found.append(f"{name} does not have its checksum")
            continue
        try:
            values = from_bytes(payload, row["dtype"], row["shape"])
        except ValueError:
            found.append(f"{name} has {len(payload)} bytes for {math.prod(row['shape'])} values of {row['dtype']}")
            continue
        if not np.isfinite(values).all():
            found.append(f"{name} is not finite")
    return found


def audited(work: Work, output: Output) -> Audit:
    """What the audit of the batch found; it works only where its latents are other ones than at its last look."""
    if "audit" not in work.left:
        work.left["audit"] = _audited(work, output)
    return work.left["audit"]


def _audited(work: Work, output: Output) -> Audit:
    folder, count = work.folder("views", "audit"), work.runtime["encoding"].audit
    memo, look = folder / "last" / f"{work.batch}.json", digest([output.data_version, count, _AUDIT_VERSION])
    known = recall(memo)
    if "encoded" not in work.left and isinstance(known, dict) and known.get("look") == look:
        return Audit.read(known["found"])
    if "latent plan" not in work.left:
        weights = weights_of(work.local, work.runtime["weights"])
        planned = plan_latents(work.store, work.batch, work.config, weights.hash).latents
        work.left["latent plan"] = {one.parts.sample_id: one for one in planned}
    planned = work.left["latent plan"]
    status = statuses(work.store, planned)
    good = {sample_id: one for sample_id, one in planned.items() if status.get(sample_id) == "ok"}
    found = audit(work.store, folder, work.batch, good, work.left.get("encoded", ()), lazy_vae(work), count)
    remember(memo, {"look": look, "found": found.measured()})
    return found


def _reconstruction(work: Work, output: Output) -> Finding:
    """A warning where the audited latents decode worse than they did, or than is asked for."""
    found, limits = audited(work, output), work.runtime["encoding"]
    if not found.latents and not found.not_audited:
        return Finding(True, "no latent was audited")
    words, problems = [], list(found.not_audited or ())
    if found.median is not None:
        words.append(f"{found.latents} latents decode to a median of {found.median} dB, the lowest to {found.lowest}")
        if limits.psnr_min is not None and found.median < limits.psnr_min:
            problems.append(f"encoding.psnr_min asks for {limits.psnr_min:g} dB")
    if found.before is not None and found.changed_median is not None:
        change = f"{found.changed} of these windows went from {found.before} to {found.changed_median} dB"
        if found.before - found.changed_median > limits.psnr_drop_max:
            problems.append(f"{change}, a drop of more than encoding.psnr_drop_max, {limits.psnr_drop_max:g} dB")
        else:
            words.append(change)
    return Finding(not problems, "; ".join([*words, *problems]), found.measured())


def _frames(work: Work, output: Output) -> Finding:
    """A warning where a second way of reading shows other frames."""
    others = audited(work, output).other_frames or ()
    words = "the audited windows show the same frames in two ways of reading"
    return Finding(not others, "; ".join(others) or words)


LATENT_CHECKS = (
    Check(
        "rows_equal_windows",
        "There is one latent for every window of the batch's kept clips.",
        _rows_equal_windows,
    ),
    Check("keys_unique", "No two windows share a content key.", _keys_unique),
    Check(
        "latents_shaped",
        "Every latent has the shape and the type that its bucket, the VAE and the configuration say.",
        _latents_shaped,
    ),
    Check(
        "latents_finite",
        "Latents read back from the store are finite and have their checksums.",
        _latents_finite,
    ),
    Check(
        "reconstruction",
        "Some latents are decoded and compared with their source: PSNR no worse than that of the same windows before, "
        "nor than encoding.psnr_min. A warning.",
        _reconstruction,
        blocking=False,
    ),
    Check(
        "same_frames",
        "The frames of the audited windows are read in two ways, which show the same. Where not, one decoder shows "
        "other frames than it is asked for; leave the file out until the cause is known. A warning.",
        _frames,
        blocking=False,
    ),
)
