"""Ingestion: which files there are, and what their headers say. One file an asset, called as in the web UI."""
