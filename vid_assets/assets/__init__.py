"""The assets: thin. Each reads its partition, calls one step, and returns a `MaterializeResult`."""
