"""Curation: from statistics to verdicts and duplicates. One file an asset, called as in the web UI."""
