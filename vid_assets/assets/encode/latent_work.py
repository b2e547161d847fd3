"""What encodes latents and decodes them again, as the configuration says: the VAE, the backend, and their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vid_assets.assets.asset import Work
from vid_assets.assets.encode.latent_plan import Planned
from vid_assets.assets.queries import openable
from vid_assets.assets.weights import weights_of
from vid_assets.encoding.settings import Encoding
from vid_assets.encoding.vae import LazyVae
from vid_assets.store.tables import Store

if TYPE_CHECKING:
    from vid_assets.encoding.backend import Backend
    from vid_assets.encoding.frames import Task


def lazy_vae(work: Work) -> LazyVae:
    """The VAE of the configuration, loaded when it is first asked for; one for the work and for its checks."""
    if "vae" not in work.left:
        vae, how = work.config["vae"], work.runtime["encoding"]
        folder = str(weights_of(work.local, work.runtime["weights"]).folder)
        work.left["vae"] = LazyVae(folder, vae.family, vae.dtype, how.device, vae.tiling, vae.settings, how.threads)
    return work.left["vae"]


def configured_backend(encoding: Encoding, vae: LazyVae) -> Backend:
    """The backend that the configuration names."""
    from vid_assets.encoding.backend import LocalBackend
    from vid_assets.encoding.ray_backend import RayBackend

    if encoding.backend == "ray":
        on_gpu = encoding.device != "cpu"
        return RayBackend(vae.encode, encoding.batch_size, encoding.decoders, encoding.ray_actors, on_gpu)
    return LocalBackend(vae.encode, encoding.batch_size, encoding.decoders)


def tasks_of(store: Store, planned: Iterable[Planned]) -> list[Task]:
    """What a backend needs for each window."""
    from vid_assets.encoding.frames import Task

    sources = openable(store)
    return [
        Task(one.parts, one.window, sources[one.parts.source_hash], one.video, one.timestamps, one.route, one.crop)
        for one in planned
    ]
