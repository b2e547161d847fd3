"""The errors whose message is all that a user needs: what is wrong and how to mend it. No traceback goes with them."""

from __future__ import annotations

from vid_assets.config import ConfigError


def mendable_errors() -> tuple[type[Exception], ...]:
    """The classes, imported when they are asked for."""
    from model.errors import ModelError
    from model.weights import WeightsError
    from vid_assets.curation.transnet import MissingExtraError
    from vid_assets.encoding.vae import VaeNotLoadedError
    from vid_assets.footage.listing import ListingError
    from vid_assets.footage.membership import ShrunkListingError
    from vid_assets.footage.opening import ChangedSinceScanError
    from vid_assets.stages import UpstreamMissingError
    from vid_assets.steps.manifests import TrainingError
    from vid_assets.steps.training_sets import StaleInputsError
    from vid_assets.store.state import BusyError
    from vid_assets.store.tables import StoreError

    return (
        ConfigError, UpstreamMissingError, ListingError, ShrunkListingError, ChangedSinceScanError, StoreError,
        BusyError, StaleInputsError, TrainingError, ModelError, WeightsError, MissingExtraError,
        VaeNotLoadedError,
    )  # fmt: skip


def one_line(error: BaseException) -> str:
    """The first line of what an error says."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300]
