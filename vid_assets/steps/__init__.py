"""What each asset does, one function for each, without Dagster: read inputs from the store, call the logic, sync rows."""
