"""What each asset does, one function for each, without Dagster: read from the store, call the logic, sync rows."""
