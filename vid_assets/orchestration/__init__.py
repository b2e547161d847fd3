"""All of Dagster: assets, checks, automation, sensor, schedule, launching."""
