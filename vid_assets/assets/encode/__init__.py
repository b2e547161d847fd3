"""Conditioning and latents. One file an asset, called as in the web UI, and what several of them share."""
