"""Encoding: windows of clips in buckets, the content key of a latent, and the backend that makes latents."""
