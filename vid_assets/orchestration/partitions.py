"""The two ways in which assets are partitioned: by ingest batch, and by experiment."""

from __future__ import annotations

import dagster as dg

from vid_assets.config import Config

#: A group of sources, formed when they were first seen. `source_files` and the sensor add keys; nothing removes one.
ingest_batch = dg.DynamicPartitionsDefinition(name="ingest_batch")


def experiments(config: Config) -> dg.StaticPartitionsDefinition:
    """One partition for each training recipe of the configuration."""
    return dg.StaticPartitionsDefinition(list(config.experiments))


def register_batches(instance: dg.DagsterInstance, names: list[str]) -> list[str]:
    """Make batches known to Dagster; returns those that were not. Safe to repeat."""
    known = set(instance.get_dynamic_partitions(ingest_batch.name or ""))
    fresh = [name for name in names if name not in known]
    if fresh:
        instance.add_dynamic_partitions(ingest_batch.name or "", fresh)
    return fresh
